{{- define "ecr-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the operator's pod. It can't change between versions: a Deployment's selector is immutable. */}}
{{- define "ecr-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* app.kubernetes.io/managed-by is Helm here. The operator's own Secrets have ecr-operator in its place. */}}
{{- define "ecr-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "ecr-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with omit .Values.commonLabels "helm.sh/chart" "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ecr-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "ecr-operator.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "ecr-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The file that --registries-config names. */}}
{{- define "ecr-operator.registriesConfig" -}}
{{- dict "registries" .Values.registries | toYaml -}}
{{- end -}}

{{/* How many operators run. */}}
{{- define "ecr-operator.replicas" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) -}}
{{- fail (printf "replicas is %d, and leaderElection.enabled is false: operators without leader election work against each other. Set replicas to 1, or enable leader election" (int .Values.replicas)) -}}
{{- end -}}
{{- int .Values.replicas -}}
{{- end -}}

{{/* What is not empty if certificates are added to the image's. */}}
{{- define "ecr-operator.extraCA" -}}
{{- or .Values.extraCA.pem .Values.extraCA.configMap.name -}}
{{- end -}}

{{/* The container's environment, as YAML; empty if there is none. */}}
{{- define "ecr-operator.env" -}}
{{- $env := list -}}
{{- if include "ecr-operator.extraCA" . -}}
{{- /* With either of these set, nothing else is read: so the image's own certificates are named too. */ -}}
{{- $env = append $env (dict "name" "SSL_CERT_FILE" "value" "/etc/ssl/certs/ca-certificates.crt") -}}
{{- $env = append $env (dict "name" "SSL_CERT_DIR" "value" "/etc/ecr-operator-ca") -}}
{{- end -}}
{{- if or .Values.leaderElection.enabled .Values.tracing.enabled -}}
{{- /* Where the lease is, and who holds it; and who makes the traces. */ -}}
{{- $env = append $env (dict "name" "POD_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.name"))) -}}
{{- $env = append $env (dict "name" "POD_NAMESPACE" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.namespace"))) -}}
{{- end -}}
{{- if .Values.tracing.enabled -}}
{{- $env = append $env (dict "name" "POD_UID" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.uid"))) -}}
{{- $env = append $env (dict "name" "NODE_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName"))) -}}
{{- $attributes := printf "k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE_NAME),k8s.deployment.name=%s,k8s.container.name=operator" (include "ecr-operator.fullname" .) -}}
{{- $env = append $env (dict "name" "OTEL_RESOURCE_ATTRIBUTES" "value" $attributes) -}}
{{- with .Values.tracing.headersSecretRef -}}
{{- if .name -}}
{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_HEADERS" "valueFrom" (dict "secretKeyRef" (dict "name" .name "key" .key))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := dict "HTTPS_PROXY" .Values.proxy.https "HTTP_PROXY" .Values.proxy.http "NO_PROXY" .Values.proxy.noProxy -}}
{{- if $value -}}
{{- $env = append $env (dict "name" $name "value" $value) -}}
{{- end -}}
{{- end -}}
{{- with concat $env .Values.extraEnv -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* The pod's volumes, as YAML; empty if there is none. */}}
{{- define "ecr-operator.volumes" -}}
{{- if .Values.registries }}
- name: registries
  configMap:
    name: {{ include "ecr-operator.fullname" . }}-registries
{{- end }}
{{- if .Values.sigstore.trustedRoot }}
- name: sigstore
  configMap:
    name: {{ include "ecr-operator.fullname" . }}-sigstore
{{- end }}
{{- if include "ecr-operator.extraCA" . }}
- name: extra-ca
  projected:
    sources:
    {{- if .Values.extraCA.pem }}
    - configMap:
        name: {{ include "ecr-operator.fullname" . }}-ca
    {{- end }}
    {{- with .Values.extraCA.configMap }}
    {{- if .name }}
    - configMap:
        name: {{ .name }}
        items:
        - {key: {{ .key | quote }}, path: configmap.pem}
    {{- end }}
    {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where they are mounted. */}}
{{- define "ecr-operator.volumeMounts" -}}
{{- if .Values.registries }}
- name: registries
  mountPath: /etc/ecr-operator
  readOnly: true
{{- end }}
{{- if .Values.sigstore.trustedRoot }}
- name: sigstore
  mountPath: /etc/ecr-operator-sigstore
  readOnly: true
{{- end }}
{{- if include "ecr-operator.extraCA" . }}
- name: extra-ca
  mountPath: /etc/ecr-operator-ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What is read when the operator starts: another content is another pod. */}}
{{- define "ecr-operator.podAnnotations" -}}
{{- $annotations := deepCopy .Values.podAnnotations -}}
{{- if .Values.registries -}}
{{- $_ := set $annotations "checksum/registries" (include "ecr-operator.registriesConfig" . | sha256sum) -}}
{{- end -}}
{{- with .Values.sigstore.trustedRoot -}}
{{- $_ := set $annotations "checksum/trusted-root" (sha256sum .) -}}
{{- end -}}
{{- with .Values.extraCA.pem -}}
{{- $_ := set $annotations "checksum/ca" (sha256sum .) -}}
{{- end -}}
{{- with $annotations -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* Not empty if Kubernetes knows the kind EcrRegistry. */}}
{{- define "ecr-operator.knowsRegistries" -}}
{{- if .Capabilities.APIVersions.Has "ecr-operator.io/v1alpha1/EcrRegistry" -}}yes{{- end -}}
{{- end -}}
