import { at, isObject, type Json, type JsonObject, textAt } from '../../swtpm-fixtures/api-server/json.ts';

/** Labels by which an object finds pods, or a ServiceMonitor its Services; null where it looks for none. */
export function selectorOf(object: JsonObject): JsonObject | null {
  const path = paths[textAt(object, 'kind') ?? ''];
  const found: Json | undefined = path === undefined ? undefined : at(object, ...path);
  return isObject(found) ? found : null;
}

/** Of the pods that an object is or makes. */
export function podLabelsOf(object: JsonObject): Json | undefined {
  return textAt(object, 'kind') === 'Pod'
    ? at(object, 'metadata', 'labels')
    : at(object, 'spec', 'template', 'metadata', 'labels');
}

export function selects(selector: JsonObject, labels: Json | undefined): boolean {
  return Object.entries(selector).every(([name, value]) => at(labels, name) === value);
}

const paths: Readonly<Record<string, readonly string[]>> = {
  Service: ['spec', 'selector'],
  NetworkPolicy: ['spec', 'podSelector', 'matchLabels'],
  PodDisruptionBudget: ['spec', 'selector', 'matchLabels'],
  PodMonitor: ['spec', 'selector', 'matchLabels'],
  ServiceMonitor: ['spec', 'selector', 'matchLabels'],
};
