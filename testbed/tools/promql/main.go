// Command promql checks the PromQL of alert rules and Grafana dashboards: that it parses, and that every metric and label
// in it is one that the documentation lists.
//
//	promql -metrics docs/metrics.md -rules FOLDER -dashboards FOLDER -runbooks FOLDER [-scrape FILE]
//
// With what an operator serves under /metrics in -scrape, the documentation must list that too, down to the labels.
// Each alert must also have what the chart and the people on call need: a number at the end of its expression, a severity,
// a summary, a description, and a runbook page; and each runbook page must have an alert.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	metrics := flag.String("metrics", "", "document with the table of metrics")
	rules := flag.String("rules", "", "folder with alert rules (*.yaml)")
	dashboards := flag.String("dashboards", "", "folder with Grafana dashboards (*.json)")
	runbooks := flag.String("runbooks", "", "folder with a page for each alert")
	scrape := flag.String("scrape", "", "what an operator serves under /metrics")
	flag.Parse()
	if err := run(*metrics, *rules, *dashboards, *runbooks, *scrape); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(metrics, rules, dashboards, runbooks, scrape string) error {
	if metrics == "" || rules == "" || dashboards == "" || runbooks == "" {
		return errors.New("-metrics, -rules, -dashboards and -runbooks are all needed")
	}
	known, err := readMetrics(metrics)
	if err != nil {
		return err
	}
	alerts, err := readAlerts(rules)
	if err != nil {
		return err
	}
	queries, err := readDashboards(dashboards)
	if err != nil {
		return err
	}
	var problems []error
	for _, alert := range alerts {
		problems = append(problems, alert.check(), known.check(alert.name, alert.Expr))
	}
	for _, query := range queries {
		problems = append(problems, known.check(query.where, query.expr))
	}
	problems = append(problems, checkRunbooks(runbooks, alerts))
	if scrape != "" {
		problems = append(problems, known.checkScrape(scrape))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	fmt.Printf("%d alerts and %d queries of dashboards are about %d metrics\n", len(alerts), len(queries), len(known))
	return nil
}
