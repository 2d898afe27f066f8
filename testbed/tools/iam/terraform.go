package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// module is a module of Terraform, and what its expressions are evaluated with.
type module struct {
	folder    string
	variables map[string]cty.Value
	locals    map[string]hclsyntax.Expression
	resources []*hclsyntax.Block
	outputs   []*hclsyntax.Block
	data      map[string]cty.Value
}

// place is where a module is applied.
type place struct{ account, partition string }

// inTheFiles is the place that the files in docs/iam speak of.
var inTheFiles = place{"123456789012", "aws"}

// asInTheFiles are values for variables that make the policies those of the files.
var asInTheFiles = map[string]cty.Value{
	"registry_settings": cty.True,
	"prune":             cty.True,
	"kms":               cty.True,
	"ecr_public":        cty.True,
	"other_account":     cty.StringVal("222222222222"),
	"github_repository": cty.StringVal("example/images"),
	"gitlab_project":    cty.StringVal("example/images"),
	"operator_account":  cty.StringVal("123456789012"),
	"cluster_name":      cty.StringVal("prod"),
}

// irsa is what a cluster has that gives its pods roles by its own OIDC provider.
var irsa = map[string]cty.Value{
	"oidc_provider": cty.StringVal("oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"),
}

// ofModules evaluates modules in every way that gives other policies.
func ofModules(folders []string) ([]policy, error) {
	var all []policy
	for _, folder := range folders {
		for _, more := range []map[string]cty.Value{nil, irsa} {
			values := maps.Clone(asInTheFiles)
			maps.Copy(values, more)
			found, err := evaluated(folder, inTheFiles, values)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
		// With its defaults it must be whole, too.
		defaults := map[string]cty.Value{"operator_account": cty.StringVal("123456789012")}
		if _, err := evaluated(folder, inTheFiles, defaults); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// evaluated are the policies of a module with these values.
func evaluated(folder string, at place, values map[string]cty.Value) ([]policy, error) {
	module, err := readModule(folder, at, values)
	if err != nil {
		return nil, err
	}
	return module.policies()
}

// readModule parses a module, and checks that it is formatted.
func readModule(folder string, at place, values map[string]cty.Value) (*module, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.tf"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s has no *.tf", folder)
	}
	one := func(name, value string) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"current": cty.ObjectVal(map[string]cty.Value{name: cty.StringVal(value)})})
	}
	found := &module{
		folder:    folder,
		variables: map[string]cty.Value{},
		locals:    map[string]hclsyntax.Expression{},
		data:      map[string]cty.Value{},
	}
	known := map[string]cty.Value{
		"aws_caller_identity": one("account_id", at.account),
		"aws_partition":       one("partition", at.partition),
	}
	parser := hclparse.NewParser()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(text, hclwrite.Format(text)) {
			return nil, fmt.Errorf("%s is not formatted: terraform fmt", path)
		}
		file, diagnostics := parser.ParseHCL(text, path)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		for _, block := range file.Body.(*hclsyntax.Body).Blocks {
			if err := found.take(block, values, known); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return found, nil
}

// take adds a block to the module.
func (m *module) take(block *hclsyntax.Block, values, known map[string]cty.Value) error {
	switch block.Type {
	case "terraform":
	case "variable":
		return m.takeVariable(block, values)
	case "locals":
		for name, attribute := range block.Body.Attributes {
			m.locals[name] = attribute.Expr
		}
	case "data":
		value, ok := known[block.Labels[0]]
		if !ok || block.Labels[1] != "current" {
			return fmt.Errorf("nothing is known of data %s", strings.Join(block.Labels, "."))
		}
		m.data[block.Labels[0]] = value
	case "resource":
		m.resources = append(m.resources, block)
	case "output":
		m.outputs = append(m.outputs, block)
	default:
		return fmt.Errorf("blocks of type %s are unknown", block.Type)
	}
	return nil
}

func (m *module) takeVariable(block *hclsyntax.Block, values map[string]cty.Value) error {
	name := block.Labels[0]
	for _, wanted := range []string{"description", "type"} {
		if block.Body.Attributes[wanted] == nil {
			return fmt.Errorf("variable %s has no %s", name, wanted)
		}
	}
	value, ok := values[name]
	if !ok {
		attribute := block.Body.Attributes["default"]
		if attribute == nil {
			return fmt.Errorf("variable %s has no value", name)
		}
		var diagnostics hcl.Diagnostics
		if value, diagnostics = attribute.Expr.Value(nil); diagnostics.HasErrors() {
			return diagnostics
		}
	}
	m.variables[name] = value
	return nil
}

// policies evaluates everything, and returns what is a policy.
func (m *module) policies() ([]policy, error) {
	scope, err := m.scope()
	if err != nil {
		return nil, err
	}
	var found []policy
	var problems []error
	for _, block := range m.resources {
		inner, err := instances(block, scope)
		if err != nil {
			return nil, err
		}
		for _, scope := range inner {
			of, err := policiesOf(m.folder, block, scope)
			problems = append(problems, err)
			found = append(found, of...)
		}
	}
	for _, block := range m.outputs {
		if _, diagnostics := block.Body.Attributes["value"].Expr.Value(scope); diagnostics.HasErrors() {
			problems = append(problems, diagnostics)
		}
	}
	return found, errors.Join(problems...)
}

// scope is what all expressions see: locals are worked out in the order in which they need each other.
func (m *module) scope() (*hcl.EvalContext, error) {
	scope := &hcl.EvalContext{
		Functions: functions(),
		Variables: map[string]cty.Value{
			"var":   cty.ObjectVal(m.variables),
			"data":  cty.ObjectVal(m.data),
			"path":  cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(m.folder)}),
			"local": cty.EmptyObjectVal,
		},
	}
	maps.Copy(scope.Variables, promised(m.resources))
	done := map[string]cty.Value{}
	for len(done) < len(m.locals) {
		before := len(done)
		var problem error
		for _, name := range slices.Sorted(maps.Keys(m.locals)) {
			if _, ok := done[name]; ok {
				continue
			}
			value, diagnostics := m.locals[name].Value(scope)
			if diagnostics.HasErrors() {
				problem = fmt.Errorf("local.%s: %w", name, diagnostics)
				continue
			}
			done[name] = value
			scope.Variables["local"] = cty.ObjectVal(done)
		}
		if len(done) == before {
			return nil, problem
		}
	}
	return scope, nil
}

// promised stands for resources, whose attributes only AWS knows.
func promised(resources []*hclsyntax.Block) map[string]cty.Value {
	types := map[string]map[string]cty.Value{}
	for _, block := range resources {
		if types[block.Labels[0]] == nil {
			types[block.Labels[0]] = map[string]cty.Value{}
		}
		types[block.Labels[0]][block.Labels[1]] = cty.DynamicVal
	}
	values := map[string]cty.Value{}
	for name, all := range types {
		values[name] = cty.ObjectVal(all)
	}
	return values
}

// instances are the scopes that count and for_each give a resource.
func instances(block *hclsyntax.Block, scope *hcl.EvalContext) ([]*hcl.EvalContext, error) {
	if attribute := block.Body.Attributes["count"]; attribute != nil {
		count, diagnostics := attribute.Expr.Value(scope)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		number, _ := count.AsBigFloat().Int64()
		return slices.Repeat([]*hcl.EvalContext{scope}, int(number)), nil
	}
	attribute := block.Body.Attributes["for_each"]
	if attribute == nil {
		return []*hcl.EvalContext{scope}, nil
	}
	each, diagnostics := attribute.Expr.Value(scope)
	if diagnostics.HasErrors() {
		return nil, diagnostics
	}
	var inner []*hcl.EvalContext
	for key, value := range each.Elements() {
		child := scope.NewChild()
		child.Variables = map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
		inner = append(inner, child)
	}
	return inner, nil
}

// policiesOf evaluates the attributes of a resource.
func policiesOf(folder string, block *hclsyntax.Block, scope *hcl.EvalContext) ([]policy, error) {
	var found []policy
	for name, attribute := range block.Body.Attributes {
		if slices.Contains([]string{"count", "for_each", "depends_on"}, name) {
			continue
		}
		value, diagnostics := attribute.Expr.Value(scope)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		if name != "policy" && name != "assume_role_policy" {
			continue
		}
		where := fmt.Sprintf("%s: %s.%s", folder, strings.Join(block.Labels, "."), name)
		document, err := normal([]byte(value.AsString()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		found = append(found, policy{where, document})
	}
	return found, nil
}
