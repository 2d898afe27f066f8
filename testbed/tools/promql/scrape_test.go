package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func scrape(t *testing.T, text string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scrape")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return known(t).checkScrape(path)
}

func TestWhatIsServedAndListedIsFine(t *testing.T) {
	text := `# TYPE ecr_operator_calls counter
ecr_operator_calls_total{service="ECR",action="a \"}\" b"} 3
ecr_operator_time_seconds_bucket{le="0.1"} 0
ecr_operator_time_seconds_sum 0.0
# EOF
`
	if err := scrape(t, text); err != nil {
		t.Error(err)
	}
}

func TestWhatIsServedAndNotListedIsNamed(t *testing.T) {
	for text, words := range map[string]string{
		"ecr_operator_new_total 1\n":               "does not list ecr_operator_new_total",
		"ecr_operator_calls_total{kind=\"a\"} 1\n": `label "kind" of ecr_operator_calls_total`,
		"no such page\n":                           "no series of the operator: no such page",
		"# EOF\n":                                  "has no series",
	} {
		err := scrape(t, text)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v does not say %s", text, err, words)
		}
	}
}
