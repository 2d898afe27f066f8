package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions are those of Terraform's that the modules use.
func functions() map[string]function.Function {
	return map[string]function.Function{
		"coalesce":   stdlib.CoalesceFunc,
		"file":       file,
		"fileset":    fileset,
		"merge":      stdlib.MergeFunc,
		"one":        one,
		"replace":    stdlib.ReplaceFunc,
		"trimsuffix": stdlib.TrimSuffixFunc,
	}
}

var file = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "path", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(arguments []cty.Value, _ cty.Type) (cty.Value, error) {
		text, err := os.ReadFile(arguments[0].AsString())
		return cty.StringVal(string(text)), err
	},
})

var fileset = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "pattern", Type: cty.String}},
	Type:   function.StaticReturnType(cty.Set(cty.String)),
	Impl: func(arguments []cty.Value, _ cty.Type) (cty.Value, error) {
		folder := arguments[0].AsString()
		paths, err := filepath.Glob(filepath.Join(folder, arguments[1].AsString()))
		if err != nil || len(paths) == 0 {
			return cty.SetValEmpty(cty.String), err
		}
		var names []cty.Value
		for _, path := range paths {
			names = append(names, cty.StringVal(strings.TrimPrefix(path, filepath.Clean(folder)+"/")))
		}
		return cty.SetVal(names), nil
	},
})

// one of a list of resources is known only once they are there.
var one = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true}},
	Type:   function.StaticReturnType(cty.DynamicPseudoType),
	Impl:   func([]cty.Value, cty.Type) (cty.Value, error) { return cty.DynamicVal, nil },
})
