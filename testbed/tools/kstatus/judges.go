package main

import (
	"context"
	"fmt"
	"os"

	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

// verdict is what each of the tools makes of an object.
type verdict struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// KStatus is Current, InProgress, Failed or Terminating.
	KStatus string `json:"kstatus"`
	// Flux is the same, by the expressions that a Kustomization has for the kind, if it has some.
	Flux string `json:"flux"`
	// Argo is Healthy, Progressing, Degraded or Suspended.
	Argo    string `json:"argo"`
	Message string `json:"message"`
}

// judges are the tools as they are set up.
type judges struct {
	expressions map[string]*cel.StatusEvaluator
	health      string
}

// kustomization is the part of a Flux Kustomization that is of use here.
type kustomization struct {
	Spec struct {
		HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
	} `json:"spec"`
}

func newJudges(kustomizations, health string) (*judges, error) {
	all := &judges{expressions: map[string]*cel.StatusEvaluator{}}
	text, err := os.ReadFile(kustomizations)
	if err != nil {
		return nil, err
	}
	for _, document := range documents(text) {
		var found kustomization
		if err := yaml.Unmarshal(document, &found); err != nil {
			return nil, fmt.Errorf("%s: %w", kustomizations, err)
		}
		for _, check := range found.Spec.HealthCheckExprs {
			evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
			if err != nil {
				return nil, fmt.Errorf("%s: healthCheckExprs of %s: %w", kustomizations, check.Kind, err)
			}
			all.expressions[check.APIVersion+" "+check.Kind] = evaluator
		}
	}
	script, err := os.ReadFile(health)
	if err != nil {
		return nil, err
	}
	all.health = string(script)
	return all, nil
}

func (j *judges) judge(object *unstructured.Unstructured) (*verdict, error) {
	found, err := kstatus.Compute(object)
	if err != nil {
		return nil, fmt.Errorf("kstatus: %w", err)
	}
	byFlux, err := j.byFlux(object)
	if err != nil {
		return nil, fmt.Errorf("flux: %w", err)
	}
	argo, err := j.byArgo(object)
	if err != nil {
		return nil, fmt.Errorf("argo cd: %w", err)
	}
	return &verdict{
		Kind:      object.GetKind(),
		Namespace: object.GetNamespace(),
		Name:      object.GetName(),
		KStatus:   found.Status.String(),
		Flux:      byFlux,
		Argo:      argo.status,
		Message:   argo.message,
	}, nil
}

// byFlux judges as kustomize-controller does: by the expressions that the Kustomization has for the kind, else by its fork
// of kstatus.
func (j *judges) byFlux(object *unstructured.Unstructured) (string, error) {
	judge := flux.Compute
	if evaluator := j.expressions[object.GetAPIVersion()+" "+object.GetKind()]; evaluator != nil {
		judge = func(object *unstructured.Unstructured) (*flux.Result, error) {
			return evaluator.Evaluate(context.Background(), object)
		}
	}
	found, err := judge(object)
	if err != nil {
		return "", err
	}
	return found.Status.String(), nil
}
