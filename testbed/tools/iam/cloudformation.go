package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// template is a template of CloudFormation: what of it is of use here.
type template struct {
	Parameters map[string]struct {
		Default string `yaml:"Default"`
	} `yaml:"Parameters"`
	Resources map[string]struct {
		Type       string    `yaml:"Type"`
		Properties yaml.Node `yaml:"Properties"`
	} `yaml:"Resources"`
}

// ofTemplates are the policies of templates, with the account of the files and the parameters' own defaults.
func ofTemplates(paths []string) ([]policy, error) {
	var all []policy
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found, err := ofTemplate(path, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func ofTemplate(path string, text []byte) ([]policy, error) {
	var parsed template
	if err := yaml.Unmarshal(text, &parsed); err != nil {
		return nil, err
	}
	values := map[string]string{"AWS::AccountId": "123456789012", "AWS::Partition": "aws"}
	for name, parameter := range parsed.Parameters {
		values[name] = parameter.Default
	}
	var found []policy
	for _, name := range slices.Sorted(maps.Keys(parsed.Resources)) {
		resource := parsed.Resources[name]
		properties, err := plain(&resource.Properties, values)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		of, err := documentsIn(path+": "+name, properties)
		if err != nil {
			return nil, err
		}
		found = append(found, of...)
	}
	return found, nil
}

// documentsIn finds the policy documents in a value, whatever they are a property of.
func documentsIn(where string, value any) ([]policy, error) {
	var found []policy
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if key != "PolicyDocument" && key != "AssumeRolePolicyDocument" {
				of, err := documentsIn(where, inner)
				if err != nil {
					return nil, err
				}
				found = append(found, of...)
				continue
			}
			text, ok := inner.(string)
			if !ok {
				encoded, err := json.Marshal(inner)
				if err != nil {
					return nil, err
				}
				text = string(encoded)
			}
			document, err := normal([]byte(text))
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", where, key, err)
			}
			found = append(found, policy{where + "." + key, document})
		}
	case []any:
		for _, inner := range value {
			of, err := documentsIn(where, inner)
			if err != nil {
				return nil, err
			}
			found = append(found, of...)
		}
	}
	return found, nil
}

// plain works out the functions of CloudFormation that the templates use. Both sides of an !If come out, as a list: which of
// the two it is depends on who uses the template.
func plain(node *yaml.Node, values map[string]string) (any, error) {
	switch node.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		for at := 0; at < len(node.Content); at += 2 {
			value, err := plain(node.Content[at+1], values)
			if err != nil {
				return nil, err
			}
			key := node.Content[at].Value
			if key == "Fn::If" {
				return bothSides(node.Content[at+1], values)
			}
			object[key] = value
		}
		return object, nil
	case yaml.SequenceNode:
		if node.Tag == "!If" {
			return bothSides(node, values)
		}
		list := []any{}
		for _, inner := range node.Content {
			value, err := plain(inner, values)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		return scalar(node, values)
	default:
		return nil, nil
	}
}

func scalar(node *yaml.Node, values map[string]string) (any, error) {
	switch node.Tag {
	case "!Ref":
		return values[node.Value], nil
	case "!Sub":
		text := node.Value
		for name, value := range values {
			text = strings.ReplaceAll(text, "${"+name+"}", value)
		}
		if strings.Contains(text, "${") {
			return nil, fmt.Errorf("line %d: nothing is known of a name in %s", node.Line, text)
		}
		return text, nil
	case "!GetAtt", "!Condition":
		return node.Value, nil
	default:
		var value any
		err := node.Decode(&value)
		return value, err
	}
}

func bothSides(node *yaml.Node, values map[string]string) (any, error) {
	var sides []any
	for _, side := range node.Content[1:] {
		value, err := plain(side, values)
		if err != nil {
			return nil, err
		}
		sides = append(sides, value)
	}
	return sides, nil
}
