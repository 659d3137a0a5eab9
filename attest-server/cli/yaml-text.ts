import { stringify } from 'yaml';

/** YAML in which no line is folded: a command in it is copied whole. A module of its own, since few commands load it. */
export function yamlText(value: unknown): string {
  return stringify(value, { lineWidth: 0 });
}
