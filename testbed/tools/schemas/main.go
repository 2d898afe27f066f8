// Command schemas writes the JSON schemas that kubeconform checks manifests against: those of Kubernetes' own kinds,
// from its OpenAPI document, and those of our kinds, from the CustomResourceDefinitions. So the check needs no network.
//
//	schemas -openapi swagger.json -crds FOLDER,FOLDER -out FOLDER
//
// The files are named as kubeconform's `{{.ResourceKind}}{{.KindSuffix}}.json` asks for them, such as
// deployment-apps-v1.json, and are strict: a field that a kind doesn't have is an error.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// object is a JSON object.
type object = map[string]any

// document is the part of an OpenAPI 2 document that is of use here.
type document struct {
	Definitions map[string]object `json:"definitions"`
}

// customResourceDefinition is the part of a CustomResourceDefinition that is of use here.
type customResourceDefinition struct {
	Kind string `json:"kind"`
	Spec struct {
		Group string `json:"group"`
		Names struct {
			Kind string `json:"kind"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				OpenAPIV3Schema object `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

func main() {
	openapi := flag.String("openapi", "", "Kubernetes' OpenAPI 2 document (swagger.json)")
	crds := flag.String("crds", "", "folders with CustomResourceDefinitions (*.yaml), with commas between them")
	out := flag.String("out", "", "folder to write the schemas to")
	flag.Parse()
	if err := run(*openapi, *crds, *out); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(openapi, crds, out string) error {
	if openapi == "" || crds == "" || out == "" {
		return errors.New("-openapi, -crds and -out are all needed")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	metadata, err := kubernetesKinds(openapi, out)
	if err != nil {
		return err
	}
	for _, folder := range strings.Split(crds, ",") {
		if err := customKinds(folder, metadata, out); err != nil {
			return err
		}
	}
	return nil
}

// kubernetesKinds writes a schema for each kind of the OpenAPI document, and returns that of an object's metadata.
func kubernetesKinds(path, out string) (object, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var openapi document
	if err := json.Unmarshal(text, &openapi); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for name, definition := range openapi.Definitions {
		strict(definition)
		switch name {
		// Both are written as a string or as a number; the document says string.
		case "io.k8s.apimachinery.pkg.util.intstr.IntOrString":
			definition["type"] = []any{"string", "integer"}
		case "io.k8s.apimachinery.pkg.api.resource.Quantity":
			definition["type"] = []any{"string", "number"}
		}
	}
	for name, definition := range openapi.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		// Definitions with many kinds are DeleteOptions and the like, which no manifest is.
		if len(kinds) != 1 {
			continue
		}
		kind, _ := kinds[0].(object)
		schema := object{"$ref": "#/definitions/" + name, "definitions": openapi.closure(name)}
		if err := write(out, stringOf(kind["group"]), stringOf(kind["version"]), stringOf(kind["kind"]), schema); err != nil {
			return nil, err
		}
	}
	const metadata = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	if _, ok := openapi.Definitions[metadata]; !ok {
		return nil, fmt.Errorf("%s has no definition %s", path, metadata)
	}
	return object{"$ref": "#/definitions/" + metadata, "definitions": openapi.closure(metadata)}, nil
}

// customKinds writes a schema for each version of each CustomResourceDefinition in the folder.
func customKinds(folder string, metadata object, out string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("%s has no *.yaml", folder)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var crd customResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if crd.Kind != "CustomResourceDefinition" {
			return fmt.Errorf("%s is a %q, not a CustomResourceDefinition", path, crd.Kind)
		}
		for _, version := range crd.Spec.Versions {
			schema := version.Schema.OpenAPIV3Schema
			properties, ok := schema["properties"].(object)
			if !ok {
				return fmt.Errorf("%s: version %s has no properties", path, version.Name)
			}
			// Every object has these; a CustomResourceDefinition need not say so.
			properties["apiVersion"] = object{"type": "string"}
			properties["kind"] = object{"type": "string"}
			properties["metadata"] = object{"$ref": metadata["$ref"]}
			strict(schema)
			schema["definitions"] = metadata["definitions"]
			if err := write(out, crd.Spec.Group, version.Name, crd.Spec.Names.Kind, schema); err != nil {
				return err
			}
		}
	}
	return nil
}

// strict closes every object of the schema that lists its properties, and says `nullable` in JSON Schema's words.
func strict(schema object) {
	if properties, ok := schema["properties"].(object); ok {
		if _, open := schema["additionalProperties"]; !open && schema["x-kubernetes-preserve-unknown-fields"] != true {
			schema["additionalProperties"] = false
		}
		for _, property := range properties {
			if property, ok := property.(object); ok {
				strict(property)
			}
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[key].(object); ok {
			strict(inner)
		}
	}
	if type_, ok := schema["type"].(string); ok && schema["nullable"] == true {
		schema["type"] = []any{type_, "null"}
		if values, ok := schema["enum"].([]any); ok {
			schema["enum"] = append(values, nil)
		}
	}
}

// closure returns the definition of that name and all that it refers to.
func (d document) closure(name string) object {
	found := object{}
	var visit func(value any)
	visit = func(value any) {
		switch value := value.(type) {
		case object:
			if reference, ok := value["$ref"].(string); ok {
				name := strings.TrimPrefix(reference, "#/definitions/")
				if _, known := found[name]; !known {
					found[name] = d.Definitions[name]
					visit(d.Definitions[name])
				}
			}
			for _, inner := range value {
				visit(inner)
			}
		case []any:
			for _, inner := range value {
				visit(inner)
			}
		}
	}
	visit(object{"$ref": "#/definitions/" + name})
	return found
}

// write puts the schema of a kind where kubeconform looks for it.
func write(out, group, version, kind string, schema object) error {
	name := strings.ToLower(kind)
	if group != "" {
		// The first part of the group is all that kubeconform puts into the name.
		name += "-" + strings.Split(group, ".")[0]
	}
	name += "-" + version + ".json"
	text, err := json.Marshal(schema)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(out, name), text, 0o644)
}

// stringOf is the value if it is a string, and empty otherwise.
func stringOf(value any) string {
	text, _ := value.(string)
	return text
}
