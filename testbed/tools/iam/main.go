// Command iam checks that the roles and policies which Terraform and CloudFormation make are those of docs/iam.
//
//	iam -documents docs/iam -terraform FOLDER,FOLDER -cloudformation FILE,FILE
//
// The modules of Terraform are evaluated as Terraform would, without a provider: with an account, a partition and names that
// are those in the files, what comes out must be the files; with others, nothing of the files' may be left.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

func main() {
	documents := flag.String("documents", "", "folder with the policies (*.json)")
	terraform := flag.String("terraform", "", "folders with Terraform modules, with commas between them")
	cloudformation := flag.String("cloudformation", "", "CloudFormation templates, with commas between them")
	flag.Parse()
	if err := run(*documents, strings.Split(*terraform, ","), strings.Split(*cloudformation, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "iam:", err)
		os.Exit(1)
	}
}

func run(folder string, modules, templates []string) error {
	known, err := readDocuments(folder)
	if err != nil {
		return err
	}
	for tool, read := range map[string]func() ([]policy, error){
		"Terraform":      func() ([]policy, error) { return ofModules(modules) },
		"CloudFormation": func() ([]policy, error) { return ofTemplates(templates) },
	} {
		found, err := read()
		if err != nil {
			return fmt.Errorf("%s: %w", tool, err)
		}
		if err := known.compare(tool, found); err != nil {
			return err
		}
	}
	fmt.Printf("Terraform and CloudFormation have all %d policies of %s\n", len(known), folder)
	return nil
}

// policy is a policy document and where it is.
type policy struct {
	where    string
	document any
}

// documents are the policies of a folder by their names.
type documents map[string]any

func readDocuments(folder string) (documents, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s has no *.json", folder)
	}
	known := documents{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		document, err := normal(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		known[filepath.Base(path)] = document
	}
	return known, nil
}

// normal parses a policy, with one action written like a list of one.
func normal(text []byte) (any, error) {
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	return listed(document), nil
}

func listed(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if text, ok := inner.(string); ok && key == "Action" {
				inner = []any{text}
			}
			value[key] = listed(inner)
		}
	case []any:
		for at, inner := range value {
			value[at] = listed(inner)
		}
	}
	return value
}

// derived are policies that modules make out of one of the files, for which there is no file.
var derived = map[string]func(any) any{
	"github-trust-policy.json": func(document any) any {
		return replaced(document, ":ref:refs/heads/main", ":pull_request")
	},
	"gitlab-trust-policy.json": func(document any) any {
		return replaced(replaced(document, ":ref_type:branch:ref:main", ":ref_type:branch:ref:*"), "StringEquals", "StringLike")
	},
}

func replaced(document any, from, to string) any {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	var changed any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), from, to)), &changed); err != nil {
		return err
	}
	return changed
}

// compare finds policies that are in no file, and files that no policy is like.
func (d documents) compare(tool string, found []policy) error {
	var problems []error
	used := map[string]bool{}
	for _, policy := range found {
		name := d.nameOf(policy.document)
		if name == "" {
			text, _ := json.MarshalIndent(policy.document, "", "  ")
			problems = append(problems, fmt.Errorf("%s: %s is like no file: %s", tool, policy.where, text))
		}
		used[name] = true
	}
	for name := range d {
		// What observes is used in the place of all the others, by those who want that.
		if !used[name] && name != "observe-policy.json" {
			problems = append(problems, fmt.Errorf("%s: no policy is %s", tool, name))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

func (d documents) nameOf(document any) string {
	for name, known := range d {
		if reflect.DeepEqual(document, known) {
			return name
		}
		if change, ok := derived[name]; ok && reflect.DeepEqual(document, change(known)) {
			return name + " (derived)"
		}
	}
	return ""
}
