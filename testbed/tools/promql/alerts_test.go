package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/promqltest"
)

// scenes are series, a sample a minute for three hours, in which an alert's expression holds, and in which it does not.
var scenes = map[string]struct{ holds, quiet string }{
	"EcrOperatorAbsent": {
		holds: `other 1x180`,
		quiet: `ecr_operator_build_info{version="1"} 1x180`,
	},
	"EcrOperatorReconcileErrors": {
		holds: `ecr_operator_reconciles_total{kind="ImageMirror",result="error"} 0+1x180`,
		quiet: `ecr_operator_reconciles_total{kind="ImageMirror",result="error"} 7x180
			ecr_operator_reconciles_total{kind="ImageMirror",result="done"} 0+9x180`,
	},
	"EcrOperatorSlowReconciles": {
		holds: slow("EcrRepository", 9, 10),
		quiet: slow("EcrRepository", 10, 10) + "\n" + slow("ImageMirror", 1, 10),
	},
	"EcrOperatorNoLeader": {
		holds: `ecr_operator_leader{pod="a"} 0x180
			ecr_operator_leader{pod="b"} 0x180`,
		quiet: `ecr_operator_leader{pod="a"} 1x180
			ecr_operator_leader{pod="b"} 0x180`,
	},
	"EcrOperatorSeveralLeaders": {
		holds: `ecr_operator_leader{namespace="a",pod="a"} 1x180
			ecr_operator_leader{namespace="a",pod="b"} 1x180`,
		quiet: `ecr_operator_leader{namespace="a",pod="a"} 1x180
			ecr_operator_leader{namespace="a",pod="b"} 0x180
			ecr_operator_leader{namespace="b",pod="c"} 1x180`,
	},
	"EcrOperatorWatchSilent": {
		holds: `ecr_operator_watch_silent_seconds{path="/a"} 0x170 60+60x10
			ecr_operator_watch_silent_seconds{path="/b"} 50x180`,
		quiet: `ecr_operator_watch_silent_seconds{path="/a"} 295x180`,
	},
	"EcrMirrorBehind": {
		holds: `ecr_operator_mirror_behind_seconds{pod="leads"} 80000+60x180
			ecr_operator_mirror_behind_seconds{pod="waits"} 0x180`,
		quiet: `ecr_operator_mirror_behind_seconds 70000+60x180`,
	},
	"EcrMirrorFailed": {
		holds: `ecr_operator_mirrors{state="failed"} 1x180`,
		quiet: `ecr_operator_mirrors{state="failed"} 0x180
			ecr_operator_mirrors{state="working"} 5x180`,
	},
	"EcrMirrorTagsFailing": {
		holds: `ecr_operator_mirror_tags_total{outcome="failed"} 0+6x180
			ecr_operator_mirror_tags_total{outcome="copied"} 0+2x180
			ecr_operator_mirror_tags_total{outcome="unchanged"} 0+3x180`,
		quiet: `ecr_operator_mirror_tags_total{outcome="failed"} 0+5x180
			ecr_operator_mirror_tags_total{outcome="copied"} 0+2x180
			ecr_operator_mirror_tags_total{outcome="unchanged"} 0+3x180`,
	},
	"EcrPullBudgetLow": {
		holds: `ecr_operator_pull_budget_left{registry="docker.io",credentials="anonymous",pod="a"} 9x180
			ecr_operator_pull_budget_limit{registry="docker.io",credentials="anonymous",pod="a"} 100x180
			ecr_operator_pull_budget_left{registry="docker.io",credentials="a/b",pod="a"} 90x180
			ecr_operator_pull_budget_limit{registry="docker.io",credentials="a/b",pod="a"} 100x180`,
		quiet: `ecr_operator_pull_budget_left{registry="docker.io",credentials="anonymous"} 10x180
			ecr_operator_pull_budget_limit{registry="docker.io",credentials="anonymous"} 100x180`,
	},
	// At the end of the scene it is 10800.
	"EcrPullSecretExpiresSoon": {
		holds: `ecr_operator_pull_secret_expiry_timestamp_seconds{kind="EcrPullSecret",pod="a"} 17900x180
			ecr_operator_pull_secret_expiry_timestamp_seconds{kind="EcrPullSecret",pod="b"} 60000x180`,
		quiet: `ecr_operator_pull_secret_expiry_timestamp_seconds{kind="EcrPullSecret"} 18100x180`,
	},
	"EcrPullSecretFailed": {
		holds: `ecr_operator_pull_secret_namespaces{kind="EcrPullSecret",state="failed"} 1x180`,
		quiet: `ecr_operator_pull_secret_namespaces{kind="EcrPullSecret",state="failed"} 0x180
			ecr_operator_pull_secret_namespaces{kind="EcrPullSecret",state="served"} 3x180`,
	},
}

// slow is a histogram in which so many of so many reconciles in a minute are done within a second, and the others take
// two minutes.
func slow(kind string, fast, all int) string {
	const format = `ecr_operator_reconcile_duration_seconds_bucket{kind="%s",le="%s"} 0+%dx180`
	lines := []string{
		fmt.Sprintf(format, kind, "1", fast), fmt.Sprintf(format, kind, "100", fast),
		fmt.Sprintf(format, kind, "300", all), fmt.Sprintf(format, kind, "+Inf", all),
	}
	return strings.Join(lines, "\n")
}

// An alert that can't come is worse than none.
func TestAlertsComeWhenTheyShouldAndOnlyThen(t *testing.T) {
	alerts, err := readAlerts("../../../charts/ecr-operator/files/alerts")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range alerts {
		scene, ok := scenes[alert.Alert]
		if !ok {
			t.Errorf("%s: there is no scene for it", alert.name)
			continue
		}
		t.Run(alert.Alert+" comes", func(t *testing.T) { eval(t, alert, scene.holds, "1") })
		t.Run(alert.Alert+" stays away", func(t *testing.T) { eval(t, alert, scene.quiet, "0") })
	}
}

// eval compares for how many things the expression holds at the end of the scene.
func eval(t *testing.T, alert alert, scene, count string) {
	t.Helper()
	script := fmt.Sprintf("load 1m\n\t%s\n\neval instant at 180m count(%s) or vector(0)\n\t{} %s\n",
		strings.ReplaceAll(scene, "\n", "\n\t"), alert.Expr, count)
	promqltest.RunTest(t, script, promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery))
}
