{{/* How the port is scraped: an entry of a ServiceMonitor's endpoints or of a PodMonitor's podMetricsEndpoints. */}}
{{- define "ecr-operator.scrape" -}}
port: http
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The metadata of an object that Prometheus or Grafana finds by its labels: root, labels. */}}
{{- define "ecr-operator.foundByLabels" -}}
name: {{ include "ecr-operator.fullname" .root }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- mergeOverwrite (deepCopy .labels) (include "ecr-operator.labels" .root | fromYaml) | toYaml | nindent 2 }}
{{- end -}}
