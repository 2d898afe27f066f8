package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// query is an expression of a dashboard.
type query struct {
	where, expr string
}

type dashboard struct {
	Panels []panel `json:"panels"`
}

type panel struct {
	ID      int    `json:"id"`
	Title   string `json:"title"`
	Type    string `json:"type"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
	Panels []panel `json:"panels"`
}

// variables are Grafana's, with something in their place that PromQL takes.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$__interval", "1m", "$__range", "1h")

// readDashboards reads the queries of the dashboards in a folder.
func readDashboards(folder string) ([]query, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var found []query
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var dashboard dashboard
		if err := json.Unmarshal(text, &dashboard); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		queries, err := queriesOf(filepath.Base(path), dashboard.Panels, map[int]bool{})
		if err != nil {
			return nil, err
		}
		found = append(found, queries...)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no dashboard with a query", folder)
	}
	return found, nil
}

// queriesOf collects the queries of panels and of those in their rows.
func queriesOf(file string, panels []panel, seen map[int]bool) ([]query, error) {
	var found []query
	for _, panel := range panels {
		where := fmt.Sprintf("%s: panel %q", file, panel.Title)
		if seen[panel.ID] {
			return nil, fmt.Errorf("%s has the id of another panel: %d", where, panel.ID)
		}
		seen[panel.ID] = true
		if panel.Type != "row" && len(panel.Targets) == 0 {
			return nil, fmt.Errorf("%s has no query", where)
		}
		for _, target := range panel.Targets {
			found = append(found, query{where, variables.Replace(target.Expr)})
		}
		inner, err := queriesOf(file, panel.Panels, seen)
		if err != nil {
			return nil, err
		}
		found = append(found, inner...)
	}
	return found, nil
}
