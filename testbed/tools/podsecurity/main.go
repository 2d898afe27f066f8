// Command podsecurity reads manifests from standard input and checks the pods of Deployments against the restricted Pod
// Security Standard, with the code by which Kubernetes itself enforces it.
//
//	podsecurity < manifests.yaml
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "podsecurity:", err)
		os.Exit(1)
	}
}

func run(input io.Reader) error {
	text, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	found := 0
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var deployment appsv1.Deployment
		if err := yaml.Unmarshal([]byte(document), &deployment); err != nil || deployment.Kind != "Deployment" {
			continue
		}
		found++
		template := deployment.Spec.Template
		level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec))
		if !result.Allowed {
			return fmt.Errorf("Deployment %s: %s", deployment.Name, result.ForbiddenDetail())
		}
	}
	if found == 0 {
		return errors.New("there is no Deployment")
	}
	return nil
}
