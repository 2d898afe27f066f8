package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../../../"
	healthLua = root + "examples/argo-cd/health.lua"
	exprs     = root + "examples/flux/kustomizations.yaml"
	suspend   = "`spec.suspend` is true (ImageMirror)"
)

// promised is what the documentation says of a row of its table of conditions.
type promised struct{ kstatus, argo string }

// documented reads the table of conditions.
func documented(t *testing.T) map[string]promised {
	t.Helper()
	text, err := os.ReadFile(root + "docs/spec/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]promised{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 8 || strings.Contains(line, "---") || strings.Contains(line, "kstatus") {
			continue
		}
		cell := func(n int) string { return strings.TrimSpace(cells[n]) }
		word := func(n int) string { return strings.Trim(cell(n), "`") }
		found[cell(1)] = promised{word(5), word(6)}
	}
	return found
}

// state is an object as the operator's own code makes it, and what had happened to it.
type state struct {
	Row    string          `json:"row"`
	What   string          `json:"what"`
	Object json.RawMessage `json:"object"`
}

func states(t *testing.T) []state {
	t.Helper()
	file, err := os.Open("testdata/states.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []state
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var next state
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			t.Fatal(err)
		}
		all = append(all, next)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryStateIsJudgedAsTheDocumentationSays(t *testing.T) {
	judges, err := newJudges(exprs, healthLua)
	if err != nil {
		t.Fatal(err)
	}
	table := documented(t)
	seen := map[string]map[string]bool{}
	for _, state := range states(t) {
		want, ok := table[state.Row]
		if !ok {
			t.Fatalf("the documentation has no row %q", state.Row)
		}
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(state.Object); err != nil {
			t.Fatal(err)
		}
		where := object.GetKind() + ": " + state.What + ": " + state.Row
		got, err := judges.judge(&object)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if got.KStatus != want.kstatus {
			t.Errorf("%s: kstatus says %s, not %s", where, got.KStatus, want.kstatus)
		}
		if got.Argo != want.argo {
			t.Errorf("%s: Argo CD says %s, not %s", where, got.Argo, want.argo)
		}
		flux := want.kstatus
		if state.Row == suspend {
			flux = "Current"
		}
		// Expressions know nothing of deletion, and Flux waits for no object that it deletes.
		if got.Flux != flux && want.kstatus != "Terminating" {
			t.Errorf("%s: Flux says %s, not %s", where, got.Flux, flux)
		}
		if seen[object.GetKind()] == nil {
			seen[object.GetKind()] = map[string]bool{}
		}
		seen[object.GetKind()][state.Row] = true
	}
	if len(seen) != 6 {
		t.Errorf("there are six kinds: %v", seen)
	}
	for kind, rows := range seen {
		for row := range table {
			// Only repositories and mirrors tell that they are at work, and only mirrors are suspended.
			if row == "work goes on" || row == suspend {
				continue
			}
			if !rows[row] {
				t.Errorf("no %s was judged: %s", kind, row)
			}
		}
	}
	for _, row := range []string{"work goes on", suspend} {
		if !seen["ImageMirror"][row] {
			t.Errorf("no ImageMirror was judged: %s", row)
		}
	}
}

// kstatus takes an object without a status for one that is done: that is why there is a default for it.
func TestAnObjectWithoutAStatusWouldBeCurrent(t *testing.T) {
	judges, err := newJudges(exprs, healthLua)
	if err != nil {
		t.Fatal(err)
	}
	object := unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "ecr-operator.io/v1alpha1", "kind": "EcrRepository",
		"metadata": map[string]any{"name": "a", "generation": int64(1)},
	}}
	got, err := judges.judge(&object)
	if err != nil {
		t.Fatal(err)
	}
	if got.KStatus != "Current" || got.Argo != "Progressing" {
		t.Errorf("%+v: if kstatus has become wiser, the default is no longer needed", got)
	}
}

func TestTheConfigMapHasTheHealthCheck(t *testing.T) {
	text, err := os.ReadFile(root + "examples/argo-cd/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &configMap); err != nil {
		t.Fatal(err)
	}
	var customizations map[string]map[string]string
	if err := yaml.UnmarshalStrict([]byte(configMap.Data["resource.customizations"]), &customizations); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(healthLua)
	if err != nil {
		t.Fatal(err)
	}
	if got := customizations["ecr-operator.io/*"]["health.lua"]; got != string(script) {
		t.Errorf("examples/argo-cd/argocd-cm.yaml has another health check than health.lua:\n%s", got)
	}
}

func TestAHealthCheckWithoutAnAnswerIsAnError(t *testing.T) {
	object := unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{}}}
	for script, words := range map[string]string{
		`return "Healthy"`:           "not a table",
		`return { status = "Fine" }`: "Fine",
		`return obj.spec.suspend`:    "nil",
		`return os.getenv("HOME")`:   "nil",
	} {
		judges := judges{health: script}
		if _, err := judges.byArgo(&object); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v does not say %s", script, err, words)
		}
	}
}
