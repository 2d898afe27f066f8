{{/*
What the operator may do with the objects of a namespace: rules of the ClusterRole, or of a Role in each of
.Values.namespaces.
*/}}
{{- define "ecr-operator.rulesInNamespaces" -}}
# Read what users declare.
- apiGroups: [ecr-operator.io]
  resources: [ecrrepositories, imagemirrors, ecrpullsecrets]
  verbs: [get, list, watch]
# An ImageMirror makes each of its destination repositories through an EcrRepository of its own (create; patch is
# server-side apply), and deletes that when its spec no longer has the destination. patch also puts the finalizer on an
# EcrRepository, and takes it off.
- apiGroups: [ecr-operator.io]
  resources: [ecrrepositories]
  verbs: [create, patch, delete]
# An ImageMirror with source.fromWorkloads makes an ImageMirror for each source repository that it finds.
- apiGroups: [ecr-operator.io]
  resources: [imagemirrors]
  verbs: [create, patch, delete]
# Report how it went: the status is written with server-side apply.
- apiGroups: [ecr-operator.io]
  resources: [ecrrepositories/status, imagemirrors/status, ecrpullsecrets/status]
  verbs: [patch]
# What the operator makes has an owner reference with blockOwnerDeletion. Clusters that have the admission plug-in
# OwnerReferencesPermissionEnforcement ask for this right on the owner.
- apiGroups: [ecr-operator.io]
  resources: [imagemirrors/finalizers, ecrpullsecrets/finalizers]
  verbs: [update]
# Write pull secrets (create, patch), take them away where they are no longer wanted (delete), and read the one of
# that name before, so as never to overwrite another's, and the Secrets that an ImageMirror's credentialsSecretRef and
# verify or a pull secret's additionalSecretRefs name (get). list and watch are used for the metadata of Secrets that carry
# app.kubernetes.io/managed-by=ecr-operator only; RBAC has no words for that, so the right itself covers all Secrets.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Read the ConfigMap with public keys or with a trusted root that an ImageMirror's verify names.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- if .Values.rbac.serviceAccounts }}
# Add a pull secret to the imagePullSecrets of the service accounts that spec.serviceAccounts names, and take it away
# again (patch). They are read (list, watch) once a pull secret has serviceAccounts; before, only whether one is labelled
# as changed. RBAC has no words for one field: the right covers the whole of each ServiceAccount.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [list, watch, patch]
{{- end }}
# Tell which images are in use: so that a lifecycle preview can warn of those that would go (lifecycle.preview; pods only),
# an ImageMirror prunes none of them (prune), mirrors them in the first place (source.fromWorkloads) and tells which of them pods
# got from it (rewrite), and an ImageEnforcement counts those that are not allowed (these two: pods only). Each kind is watched
# once an object asks for that; of each workload only the names and digests of its images are kept.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments, replicasets, statefulsets, daemonsets]
  verbs: [list, watch]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [list, watch]
{{- end -}}


{{/* Binds a Role to the operator's ServiceAccount: root, name, namespace. */}}
{{- define "ecr-operator.roleBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "ecr-operator.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
- kind: ServiceAccount
  name: {{ include "ecr-operator.serviceAccountName" .root }}
  namespace: {{ .root.Release.Namespace }}
{{- end -}}
