package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// known is what a document with a counter, a histogram and another table lists.
func known(t *testing.T) metrics {
	t.Helper()
	path := filepath.Join(t.TempDir(), "metrics.md")
	text := "| metric | type | labels | |\n|---|---|---|---|\n" +
		"| `ecr_operator_calls_total` | counter | `service`, `action` | calls |\n" +
		"| `ecr_operator_time_seconds` | histogram | | time |\n\n" +
		"| `ecr_operator_other` | of another table |\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := readMetrics(path)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestMetricsAndLabelsThatThereAreAreFine(t *testing.T) {
	for _, expr := range []string{
		`sum by (service, job) (rate(ecr_operator_calls_total{action=~"Put.*"}[5m])) > 0`,
		`histogram_quantile(0.9, sum by (le) (rate(ecr_operator_time_seconds_bucket[5m]))) > 1`,
		`absent(ecr_operator_calls_total{job="a"}) > 0`,
	} {
		if err := known(t).check("test", expr); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func TestWhatIsNotThereIsNamed(t *testing.T) {
	for expr, words := range map[string]string{
		`ecr_operator_cals_total > 0`:                                `"ecr_operator_cals_total"`,
		`ecr_operator_time_seconds > 0`:                              `"ecr_operator_time_seconds"`,
		`ecr_operator_other > 0`:                                     `"ecr_operator_other"`,
		`ecr_operator_calls_total{kind="a"} > 0`:                     `no label "kind"`,
		`sum by (kind) (ecr_operator_calls_total) > 0`:               `grouped by "kind"`,
		`sum by (le) (rate(ecr_operator_time_seconds_sum[5m])) > 0`:  `grouped by "le"`,
		`sum(rate(ecr_operator_calls_total)) > 0`:                    "range vector",
		`sum(ecr_operator_calls_total[5m] > 0`:                       "parse error",
		`vector(1) > 0`:                                              "about no metric",
		`{job="a"} > 0`:                                              `no metric is called ""`,
		`ecr_operator_calls_total > 0 and on() up{instance="a"} > 0`: `"up"`,
	} {
		err := known(t).check("test", expr)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v does not say %s", expr, err, words)
		}
	}
}
