package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// series is a line of what the operator serves: name, labels, value.
var series = regexp.MustCompile(`^(ecr_operator_[a-z_]+)(?:\{(.*)\})? \S`)

// label is the name of a label and its value, which may have anything in it.
var label = regexp.MustCompile(`([a-zA-Z_]+)="(?:[^"\\]|\\.)*"`)

// checkScrape compares what an operator serves with what the documentation lists.
func (m metrics) checkScrape(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var problems []error
	seen := map[string]bool{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		found := series.FindStringSubmatch(lines.Text())
		if found == nil {
			if !strings.HasPrefix(lines.Text(), "#") {
				problems = append(problems, fmt.Errorf("%s: this is no series of the operator: %s", path, lines.Text()))
			}
			continue
		}
		var names []string
		for _, pair := range label.FindAllStringSubmatch(found[2], -1) {
			names = append(names, pair[1])
		}
		key := found[1] + " " + strings.Join(names, ",")
		if seen[key] {
			continue
		}
		seen[key] = true
		allowed, ok := m[found[1]]
		if !ok {
			problems = append(problems, fmt.Errorf("%s: the documentation does not list %s", path, found[1]))
		}
		for _, name := range names {
			if ok && !slices.Contains(allowed, name) {
				problems = append(problems, fmt.Errorf("%s: the documentation does not list the label %q of %s", path, name, found[1]))
			}
		}
	}
	if len(seen) == 0 {
		problems = append(problems, fmt.Errorf("%s has no series of the operator", path))
	}
	return errors.Join(append(problems, lines.Err())...)
}
