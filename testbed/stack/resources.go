package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// rbacKinds are the documents of the chart that the stack applies: the operator runs outside the cluster, under the
// rights that the chart gives it and no others.
var rbacKinds = []string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}

// releaseName is the chart's release, and by the chart's naming the operator's ServiceAccount.
const releaseName = "ecr-operator"

var (
	documentSeparator = regexp.MustCompile(`(?m)^---.*$`)
	documentKind      = regexp.MustCompile(`(?m)^kind:\s*["']?(\w+)`)
)

// selectKinds returns the documents of a stream of YAML that are of one of the kinds.
func selectKinds(stream string, kinds []string) []byte {
	var selected bytes.Buffer
	for _, document := range documentSeparator.Split(stream, -1) {
		kind := documentKind.FindStringSubmatch(document)
		if kind != nil && slices.Contains(kinds, kind[1]) {
			fmt.Fprintf(&selected, "---\n%s\n", strings.TrimSpace(document))
		}
	}
	return selected.Bytes()
}

// renderRBAC returns the chart's RBAC as Helm would install it.
func (s *stack) renderRBAC(ctx context.Context) ([]byte, error) {
	stream, err := s.tool(ctx, "helm", nil, "template", releaseName, s.options.chart, "--namespace", operatorNamespace)
	if err != nil {
		return nil, err
	}
	selected := selectKinds(string(stream), rbacKinds)
	if len(selected) == 0 {
		return nil, fmt.Errorf("the chart in %s renders none of %s", s.options.chart, strings.Join(rbacKinds, ", "))
	}
	return selected, nil
}

// applyRBAC installs the operator's rights and writes the kubeconfig that has them.
func (s *stack) applyRBAC(ctx context.Context, documents []byte) error {
	namespace := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", operatorNamespace)
	if err := s.apply(ctx, append([]byte(namespace), documents...)); err != nil {
		return fmt.Errorf("apply the chart's RBAC: %w", err)
	}
	token, err := s.tool(ctx, "kubectl", nil, "create", "token", releaseName, "--namespace", operatorNamespace, "--duration", "24h")
	if err != nil {
		return fmt.Errorf("get a token for the operator's ServiceAccount: %w", err)
	}
	config := tokenKubeconfig(s.apiServer(), s.authority.pem, strings.TrimSpace(string(token)))
	return writeFile(s.layout.operatorKubeconfig(), config)
}

// applyResources installs the CustomResourceDefinitions and the EcrRegistry that the stack's registry is known by.
func (s *stack) applyResources(ctx context.Context) error {
	if _, err := s.tool(ctx, "kubectl", nil, "apply", "--server-side", "-f", s.options.crds); err != nil {
		return fmt.Errorf("apply the CustomResourceDefinitions: %w", err)
	}
	_, err := s.tool(ctx, "kubectl", nil, "wait", "--for=condition=Established", "--timeout=60s", "-f", s.options.crds)
	if err != nil {
		return fmt.Errorf("wait for the CustomResourceDefinitions: %w", err)
	}
	if err := s.apply(ctx, s.defaultRegistry()); err != nil {
		return fmt.Errorf("apply the EcrRegistry: %w", err)
	}
	return nil
}

func (s *stack) defaultRegistry() []byte {
	return fmt.Appendf(nil, `apiVersion: ecr-operator.io/v1alpha1
kind: EcrRegistry
metadata:
  name: default
spec:
  region: %s
  accountId: %q
  endpoints:
    api: %s
    registry: https://%s
    caBundle: |
%s`, awsRegion, awsAccount, s.awsEndpoint(), s.ports.address(portAWSRegistry), indent(s.authority.pem, 6))
}

func (s *stack) apply(ctx context.Context, documents []byte) error {
	_, err := s.tool(ctx, "kubectl", documents, "apply", "--server-side", "-f", "-")
	return err
}

// indent puts spaces before every line, as a YAML block needs them.
func indent(text []byte, spaces int) string {
	prefix := strings.Repeat(" ", spaces)
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(string(text))) {
		b.WriteString(prefix + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}
