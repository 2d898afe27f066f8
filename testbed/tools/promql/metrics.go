package main

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// metrics are the labels of each series that the documentation lists.
type metrics map[string][]string

// targetLabels are on every series, from where it was scraped.
var targetLabels = []string{"job", "instance", "namespace", "pod", "service", "container", "endpoint"}

// row is a row of the table: name, type, labels.
var row = regexp.MustCompile("^\\| `(ecr_operator_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|")

var quoted = regexp.MustCompile("`([a-z_]+)`")

// readMetrics reads the table of metrics in a document.
func readMetrics(path string) (metrics, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	found := metrics{}
	for line := range strings.Lines(string(text)) {
		cells := row.FindStringSubmatch(line)
		if cells == nil {
			continue
		}
		name, kind := cells[1], cells[2]
		names := slices.Clone(targetLabels)
		for _, label := range quoted.FindAllStringSubmatch(cells[3], -1) {
			names = append(names, label[1])
		}
		switch kind {
		case "counter", "gauge", "info":
			found[name] = names
		case "histogram":
			found[name+"_sum"] = names
			found[name+"_count"] = names
			found[name+"_bucket"] = append(slices.Clone(names), "le")
		default:
			return nil, fmt.Errorf("%s: %s has the unknown type %s", path, name, kind)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no table of metrics", path)
	}
	return found, nil
}

// check parses an expression and compares its metrics and labels with the known ones.
func (m metrics) check(where, expr string) error {
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", where, expr, err)
	}
	var problem error
	selectors := 0
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			allowed, ok := m[node.Name]
			if !ok && problem == nil {
				problem = fmt.Errorf("%s: no metric is called %q; there are %s", where, node.Name, m)
			}
			selectors++
			for _, matcher := range node.LabelMatchers {
				if matcher.Name != labels.MetricName && !slices.Contains(allowed, matcher.Name) && problem == nil {
					problem = fmt.Errorf("%s: %s has no label %q", where, node.Name, matcher.Name)
				}
			}
		case *parser.AggregateExpr:
			for _, label := range node.Grouping {
				if !m.haveLabel(node.Expr, label) && problem == nil {
					problem = fmt.Errorf("%s: %s is grouped by %q, which no metric in it has", where, node.Expr, label)
				}
			}
		}
		return nil
	})
	if problem == nil && selectors == 0 {
		problem = fmt.Errorf("%s: %s is about no metric", where, expr)
	}
	return problem
}

// haveLabel tells whether a metric below the expression has the label.
func (m metrics) haveLabel(expr parser.Node, label string) bool {
	found := false
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			found = found || slices.Contains(m[selector.Name], label)
		}
		return nil
	})
	return found
}

func (m metrics) String() string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }
