package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// rule is a rule of Prometheus: here, always an alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

// alert is a rule with the words by which it is named in messages.
type alert struct {
	rule
	name string
}

// threshold is what the chart replaces by a value.
var threshold = regexp.MustCompile(`[<>]=? [0-9.]+$`)

// readAlerts reads the rules of a folder, strictly: Prometheus refuses what it does not know.
func readAlerts(folder string) ([]alert, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var found []alert
	seen := map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var file ruleFile
		if err := yaml.UnmarshalStrict(text, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, group := range file.Groups {
			if group.Name == "" || seen["group "+group.Name] {
				return nil, fmt.Errorf("%s: a group has no name, or that of another: %q", path, group.Name)
			}
			seen["group "+group.Name] = true
			for _, rule := range group.Rules {
				if seen[rule.Alert] {
					return nil, fmt.Errorf("%s: there is another alert %s", path, rule.Alert)
				}
				seen[rule.Alert] = true
				found = append(found, alert{rule, fmt.Sprintf("%s: alert %s", filepath.Base(path), rule.Alert)})
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no alerts", folder)
	}
	return found, nil
}

// check looks at all but the metrics.
func (a alert) check() error {
	var problems []error
	say := func(problem string) { problems = append(problems, fmt.Errorf("%s: %s", a.name, problem)) }
	if a.Alert == "" {
		say("it has no name")
	}
	if a.For == "" {
		say("it has no `for`")
	}
	if !threshold.MatchString(a.Expr) {
		say("its expression does not end with a comparison with a number, which the chart's values change")
	}
	if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) {
		say("its severity is none of critical, warning, info")
	}
	for _, name := range []string{"summary", "description"} {
		if a.Annotations[name] == "" {
			say("it has no " + name)
		}
	}
	return errors.Join(problems...)
}

// checkRunbooks compares the pages of a folder with the alerts.
func checkRunbooks(folder string, alerts []alert) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		return err
	}
	pages := map[string]bool{}
	for _, path := range paths {
		pages[strings.TrimSuffix(filepath.Base(path), ".md")] = true
	}
	delete(pages, "README")
	var problems []error
	for _, alert := range alerts {
		if !pages[alert.Alert] {
			problems = append(problems, fmt.Errorf("%s: %s/%s.md is missing", alert.name, folder, alert.Alert))
		}
		delete(pages, alert.Alert)
	}
	for page := range pages {
		problems = append(problems, fmt.Errorf("%s/%s.md: there is no such alert", folder, page))
	}
	return errors.Join(problems...)
}
