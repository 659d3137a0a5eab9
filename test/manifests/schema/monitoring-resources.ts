import type { Json, JsonObject } from '../../../swtpm-fixtures/api-server/json.ts';

const text: JsonObject = { type: 'string' };
const flag: JsonObject = { type: 'boolean' };
const count: JsonObject = { type: 'integer', minimum: 0 };
const texts: JsonObject = { type: 'array', items: text };
const map: JsonObject = { type: 'object', additionalProperties: text };
const duration: JsonObject = {
  type: 'string',
  pattern: '^(0|(\\d+y)?(\\d+w)?(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?)$',
};

const selector = object({
  matchLabels: map,
  matchExpressions: list(object({ key: text, operator: text, values: texts }, 'key', 'operator')),
});
const namespaces = object({ any: flag, matchNames: texts });
const relabelings = list(
  object({
    action: {
      type: 'string',
      enum: [
        ...['replace', 'keep', 'drop', 'hashmod', 'labelmap', 'labeldrop', 'labelkeep', 'lowercase'],
        ...['uppercase', 'keepequal', 'dropequal'],
      ],
    },
    sourceLabels: texts,
    separator: text,
    targetLabel: text,
    regex: text,
    modulus: count,
    replacement: text,
  }),
);
const endpoint: JsonObject = {
  path: text,
  scheme: { type: 'string', enum: ['http', 'https'] },
  interval: duration,
  scrapeTimeout: duration,
  honorLabels: flag,
  honorTimestamps: flag,
  followRedirects: flag,
  enableHttp2: flag,
  relabelings,
  metricRelabelings: relabelings,
};
const limits: JsonObject = {
  sampleLimit: count,
  targetLimit: count,
  labelLimit: count,
  labelNameLengthLimit: count,
  labelValueLengthLimit: count,
  bodySizeLimit: text,
  attachMetadata: object({ node: flag }),
};

/**
 * What the resources of the Prometheus operator may hold, as far as the chart may use it: another member counts as unknown. Names and
 * types are those of its resource definitions (Apache-2.0).
 */
export const monitoringSchemas: Readonly<Record<string, JsonObject>> = {
  ServiceMonitor: resource(
    {
      selector,
      namespaceSelector: namespaces,
      jobLabel: text,
      targetLabels: texts,
      podTargetLabels: texts,
      endpoints: list(
        object({ ...endpoint, port: text, targetPort: { 'x-kubernetes-int-or-string': true } }),
      ),
      ...limits,
    },
    'selector',
    'endpoints',
  ),
  PodMonitor: resource(
    {
      selector,
      namespaceSelector: namespaces,
      jobLabel: text,
      podTargetLabels: texts,
      podMetricsEndpoints: list(object({ ...endpoint, port: text, filterRunning: flag })),
      ...limits,
    },
    'selector',
  ),
  PrometheusRule: resource({
    groups: list(
      object(
        {
          name: { type: 'string', minLength: 1 },
          interval: duration,
          limit: count,
          labels: map,
          rules: list(
            object(
              {
                alert: text,
                record: text,
                expr: { 'x-kubernetes-int-or-string': true },
                for: duration,
                keep_firing_for: duration,
                labels: map,
                annotations: map,
              },
              'expr',
            ),
          ),
        },
        'name',
      ),
    ),
  }),
};

/** The same as definitions, for an API server that has none. */
export const monitoringDefinitions: readonly JsonObject[] = Object.entries(monitoringSchemas).map(
  ([kind, schema]) => ({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${kind.toLowerCase()}s.monitoring.coreos.com` },
    spec: {
      group: 'monitoring.coreos.com',
      names: { kind, plural: `${kind.toLowerCase()}s` },
      scope: 'Namespaced',
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  }),
);

function resource(spec: JsonObject, ...required: readonly string[]): JsonObject {
  return object({ spec: object(spec, ...required) }, 'spec');
}

function object(properties: JsonObject, ...required: readonly string[]): JsonObject {
  return { type: 'object', properties, ...(required.length > 0 && { required }) };
}

function list(items: Json): JsonObject {
  return { type: 'array', items };
}
