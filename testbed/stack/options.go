package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// operatorOff as the operator's path leaves the operator out.
const operatorOff = "off"

// Node modes: start one where the machine allows it, never, or fail without it.
const (
	nodeAuto    = "auto"
	nodeOff     = "off"
	nodeRequire = "require"
)

// options is what `stack up` is told.
type options struct {
	layout       layout
	operator     string
	operatorArgs []string
	// apiServerArgs make the API server another than the stack's usual one, such as an older version.
	apiServerArgs []string
	node          string
	chart         string
	crds          string
	// iamPolicies are the policy documents that say what the operator may do in AWS.
	iamPolicies []string
	moto        bool
}

// listFlag is a flag that may be given several times.
type listFlag []string

func (l *listFlag) String() string     { return strings.Join(*l, " ") }
func (l *listFlag) Set(s string) error { *l = append(*l, s); return nil }

// flagSet returns the flags that every command has, and where their run directory ends up.
func flagSet(command string, where checkout) (*flag.FlagSet, *string) {
	flags := flag.NewFlagSet("stack "+command, flag.ContinueOnError)
	runDir := flags.String("run-dir", filepath.Join(where.testbed(), "run"), "`directory` of everything that the stack writes")
	return flags, runDir
}

// parseRunDir reads the flags of a command that takes nothing but the run directory, and returns its other arguments.
func parseRunDir(command string, args []string) (layout, []string, error) {
	where, err := findCheckout()
	if err != nil {
		return layout{}, nil, err
	}
	flags, runDir := flagSet(command, where)
	if err := flags.Parse(args); err != nil {
		return layout{}, nil, err
	}
	l, err := newLayout(where, *runDir)
	return l, flags.Args(), err
}

func parseUp(command string, args []string) (options, error) {
	where, err := findCheckout()
	if err != nil {
		return options{}, err
	}
	flags, runDir := flagSet(command, where)
	o := options{}
	flags.StringVar(&o.operator, "operator", filepath.Join(where.root, "target", "release", "ecr-operator"), "`path` of the operator's program, or off")
	flags.Var((*listFlag)(&o.operatorArgs), "operator-arg", "one more `argument` of 'ecr-operator run'; may be repeated")
	flags.Var((*listFlag)(&o.apiServerArgs), "apiserver-arg", "one more `argument` of kube-apiserver, such as --emulated-version=1.34; may be repeated")
	flags.StringVar(&o.node, "node", nodeAuto, "start a node: auto (where the machine allows it), off, require")
	flags.StringVar(&o.chart, "chart", filepath.Join(where.root, "charts", "ecr-operator"), "`directory` of the Helm chart whose RBAC the operator runs under")
	flags.StringVar(&o.crds, "crds", filepath.Join(where.root, "crds"), "`directory` of the CustomResourceDefinitions")
	flags.Var((*listFlag)(&o.iamPolicies), "iam-policy", "policy document `file` that says what the operator may do in AWS; may be repeated (default those of docs/iam for the operator, registry settings and pruning)")
	flags.BoolVar(&o.moto, "moto", false, "start moto_server too, a second implementation of ECR's API")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if len(o.iamPolicies) == 0 {
		for _, name := range []string{"operator", "registry-settings", "prune"} {
			o.iamPolicies = append(o.iamPolicies, filepath.Join(where.root, "docs", "iam", name+"-policy.json"))
		}
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.node != nodeAuto && o.node != nodeOff && o.node != nodeRequire {
		return options{}, fmt.Errorf("--node is %q; it is auto, off or require", o.node)
	}
	if o.layout, err = newLayout(where, *runDir); err != nil {
		return options{}, err
	}
	for _, path := range []*string{&o.chart, &o.crds} {
		if *path, err = filepath.Abs(*path); err != nil {
			return options{}, err
		}
	}
	for n := range o.iamPolicies {
		if o.iamPolicies[n], err = filepath.Abs(o.iamPolicies[n]); err != nil {
			return options{}, err
		}
	}
	if o.operator != operatorOff {
		if o.operator, err = filepath.Abs(o.operator); err != nil {
			return options{}, err
		}
	}
	return o, o.checkInputs()
}

// checkInputs finds what is missing before anything starts, all of it at once.
func (o options) checkInputs() error {
	var missing []string
	for _, name := range corePrograms {
		if !isExecutable(o.layout.program(name)) {
			missing = append(missing, name)
		}
	}
	var problems []string
	if len(missing) > 0 {
		problems = append(problems, fmt.Sprintf("programs are missing (%s): run testbed/scripts/build core", strings.Join(missing, ", ")))
	}
	if _, err := os.Stat(filepath.Join(o.chart, "Chart.yaml")); err != nil {
		problems = append(problems, fmt.Sprintf("no Helm chart in %s: the operator's RBAC comes from it (--chart names another)", o.chart))
	}
	if files, _ := filepath.Glob(filepath.Join(o.crds, "*.yaml")); len(files) == 0 {
		problems = append(problems, fmt.Sprintf("no CustomResourceDefinitions in %s (--crds names another directory)", o.crds))
	}
	for _, policy := range o.iamPolicies {
		if _, err := os.Stat(policy); err != nil {
			problems = append(problems, fmt.Sprintf("no policy document %s (--iam-policy names another)", policy))
		}
	}
	if o.moto && !isExecutable(o.layout.program(motoProgram)) {
		problems = append(problems, "moto is missing: run testbed/scripts/build moto, or leave out --moto")
	}
	if o.operator != operatorOff && !isExecutable(o.operator) {
		problems = append(problems, fmt.Sprintf("no operator at %s: run cargo build --release, name one with --operator, or leave it out with --operator off", o.operator))
	}
	if len(problems) > 0 {
		return fmt.Errorf("not ready to start:\n  %s", strings.Join(problems, "\n  "))
	}
	return nil
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
