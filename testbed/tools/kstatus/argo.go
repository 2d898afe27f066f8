package main

import (
	"fmt"
	"slices"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// health is what a health check of Argo CD returns.
type health struct {
	status  string
	message string
}

// libraries are those that Argo CD gives a health check where nobody has set useOpenLibs.
var libraries = map[string]lua.LGFunction{
	lua.BaseLibName: lua.OpenBase,
	lua.TabLibName:  lua.OpenTable,
}

// byArgo runs the health check as Argo CD does: in the same interpreter, with the object in the global variable obj.
func (j *judges) byArgo(object *unstructured.Unstructured) (health, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range libraries {
		call := lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return health{}, err
		}
	}
	state.SetGlobal("obj", toLua(state, object.Object))
	if err := state.DoString(j.health); err != nil {
		return health{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return health{}, fmt.Errorf("the health check returns a %s, not a table", state.Get(-1).Type())
	}
	found := health{table.RawGetString("status").String(), table.RawGetString("message").String()}
	if !slices.Contains([]string{"Healthy", "Progressing", "Degraded", "Suspended"}, found.status) {
		return health{}, fmt.Errorf("Argo CD knows no health status %q", found.status)
	}
	return found, nil
}

// toLua turns a value out of JSON into one of Lua.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
