{{/* The name of all objects, with room for a suffix. */}}
{{- define "lbflask.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select the pods of a component, and never change: the arguments are the root and the component. */}}
{{- define "lbflask.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of all objects. */}}
{{- define "lbflask.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The name of the Secret. */}}
{{- define "lbflask.secret" -}}
{{- default (include "lbflask.fullname" .) .Values.secret.name -}}
{{- end -}}

{{/* The image of all pods. */}}
{{- define "lbflask.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* The source of discovery: the name of the headless Service. */}}
{{- define "lbflask.source" -}}
{{- with .Values.backends -}}
dns://{{ .service }}.{{ default $.Release.Namespace .namespace }}.svc.{{ .clusterDomain }}:{{ .port }}
{{- end -}}
{{- end -}}

{{/* The configuration of all pods. */}}
{{- define "lbflask.config" -}}
{{ tpl .Values.config . }}
{{- end -}}

{{/* The metadata of a pod: its annotations make new pods when the configuration or the made Secret changes. */}}
{{- define "lbflask.podMetadata" -}}
labels:
  {{- include "lbflask.selector" . | nindent 2 }}
annotations:
  checksum/config: {{ include "lbflask.config" .root | sha256sum }}
  {{- if .root.Values.secret.create }}
  checksum/secret: {{ toYaml .root.Values.secret | sha256sum }}
  {{- end }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* What the pods of both components have: rights, volumes, and where they run. */}}
{{- define "lbflask.pod" -}}
automountServiceAccountToken: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "lbflask.selector" . | nindent 8 }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: config
    configMap: { name: {{ include "lbflask.fullname" .root }} }
  - name: secrets
    secret:
      secretName: {{ include "lbflask.secret" .root }}
      items: [{ key: tokens, path: tokens }]
  - name: tmp
    emptyDir: { medium: Memory, sizeLimit: 64Mi }
{{- end -}}

{{/* What the containers of both components have. */}}
{{- define "lbflask.container" -}}
image: {{ include "lbflask.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
volumeMounts:
  - { name: config, mountPath: /etc/lbflask/config, readOnly: true }
  - { name: secrets, mountPath: /run/secrets/lbflask, readOnly: true }
  - { name: tmp, mountPath: /tmp }
{{- end -}}

{{/* The environment of both components. */}}
{{- define "lbflask.env" -}}
- { name: LBFLASK_CONFIG, value: /etc/lbflask/config/lbflask.toml }
- name: LBFLASK_REDIS_URL
  valueFrom:
    secretKeyRef: { name: {{ include "lbflask.secret" . }}, key: redis_url }
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}
