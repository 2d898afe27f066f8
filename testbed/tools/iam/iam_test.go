package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

const root = "../../../"

var (
	modules   = []string{root + "examples/iam/terraform", root + "examples/iam/terraform/other-account"}
	templates = []string{
		root + "examples/iam/cloudformation/ecr-operator.yaml",
		root + "examples/iam/cloudformation/other-account.yaml",
	}
)

func TestBothHaveAllPoliciesOfTheDocumentation(t *testing.T) {
	if err := run(root+"docs/iam", modules, templates); err != nil {
		t.Error(err)
	}
}

func TestNothingOfTheFilesIsLeftInAnotherPlace(t *testing.T) {
	elsewhere := map[string]cty.Value{
		"registry_settings": cty.True, "prune": cty.True, "kms": cty.True, "ecr_public": cty.True,
		"name":              cty.StringVal("images"),
		"other_account":     cty.StringVal("333333333333"),
		"operator_account":  cty.StringVal("444444444444"),
		"external_id":       cty.StringVal("mine"),
		"github_repository": cty.StringVal("we/ours"),
		"gitlab_project":    cty.StringVal("we/ours"),
		"oidc_provider":     cty.StringVal("oidc.example.com/id/1"),
	}
	found := 0
	for _, folder := range modules {
		policies, err := evaluated(folder, place{"555555555555", "aws-cn"}, elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		for _, policy := range policies {
			text, err := json.Marshal(policy.document)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"123456789012", "222222222222", "EXAMPLE", "arn:aws:", "example/images", "cluster-prod", "role/ecr-operator"} {
				if strings.Contains(string(text), word) {
					t.Errorf("%s still has %s: %s", policy.where, word, text)
				}
			}
			found++
		}
	}
	if found < 15 {
		t.Errorf("only %d policies were found", found)
	}
}

// copied is a copy of a file with one change.
func copied(t *testing.T, path, from, to string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		t.Fatalf("%s has no %s", path, from)
	}
	copied := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(copied, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestATemplateThatAllowsMoreOrLessIsRefused(t *testing.T) {
	for from, to := range map[string]string{
		"          - ecr:PutImage\n":                          "",
		"          - ecr:BatchGetImage\n":                     "          - ecr:BatchGetImage\n          - ecr:BatchDeleteImage\n",
		"Action: ecr:BatchDeleteImage":                        "Action: ecr:Batch*",
		"Service: pods.eks.amazonaws.com":                     "Service: ec2.amazonaws.com",
		"kms:ViaService: ecr.*.amazonaws.com":                 "kms:ViaService: \"*\"",
		":repository/*":                                       ":repository/team-*",
		"system:serviceaccount:ecr-operator:ecr-operator\"\n": "system:serviceaccount:ecr-operator:*\"\n",
	} {
		template := copied(t, templates[0], from, to)
		err := run(root+"docs/iam", modules, []string{template, templates[1]})
		if err == nil || !strings.Contains(err.Error(), "is like no file") {
			t.Errorf("%q: %v", from, err)
		}
	}
}

func TestAPolicyThatNobodyUsesIsNamed(t *testing.T) {
	err := run(root+"docs/iam", modules, templates[:1])
	if err == nil || !strings.Contains(err.Error(), "CloudFormation: no policy is cross-account-trust-policy.json") {
		t.Error(err)
	}
	err = run(root+"docs/iam", modules[:1], templates)
	if err == nil || !strings.Contains(err.Error(), "Terraform: no policy is cross-account-trust-policy.json") {
		t.Error(err)
	}
}

func TestAModuleWithMistakesIsRefused(t *testing.T) {
	for text, words := range map[string]string{
		"locals {\n  a  = 1\n}\n":                                         "not formatted",
		"locals {\n  a = local.b\n}\n":                                    "local.a",
		"locals {\n  a = var.b\n}\n":                                      "unsupported attribute",
		"variable \"a\" {\n  type = string\n}\n":                          "no description",
		"data \"aws_region\" \"current\" {}\n":                            "nothing is known of data aws_region",
		"provisioner \"a\" {}\n":                                          "unknown",
		"resource \"a\" \"b\" {\n  c = aws_iam_role.gone.arn\n}\n":        "aws_iam_role",
		"resource \"a\" \"b\" {\n  policy = \"{\\\"Version\\\": }\"\n}\n": "invalid character",
		"locals {\n": "Unclosed",
	} {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "main.tf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := evaluated(folder, inTheFiles, asInTheFiles)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(words)) {
			t.Errorf("%q: %v does not say %s", text, err, words)
		}
	}
}
