import { isScalar, parseDocument, stringify } from 'yaml';
import { agentSettings } from '../../agent/config.ts';
import { brokerSettings } from '../../agent/tpm-broker/config.ts';
import { serverSettings } from '../../attest-server/config.ts';
import type { Setting } from '../../attest-server/settings/settings.ts';

/** Values of the chart whose default is that of the setting to which they are handed on. */
const inValues: readonly (readonly [path: readonly string[], setting: Setting])[] = [
  [['agent', 'tcti'], brokerSettings.tcti],
  [['agent', 'watch'], agentSettings.watch],
  [['agent', 'logLevel'], agentSettings.logLevel],
];

/** Settings by whose defaults templates go, by the names that these have there. */
const inTemplates: Readonly<Record<string, Setting>> = {
  pendingTaint: serverSettings['marks.pendingTaint'],
  reprovingTaint: serverSettings['marks.reprovingTaint'],
  untrustedTaint: serverSettings['marks.untrustedTaint'],
  tcti: brokerSettings.tcti,
};

/** values.yaml with the defaults of today; all else stays as it is, comments too. */
export function withDefaults(values: string): string {
  return inValues.reduce((text, [path, { schema }]) => {
    const node: unknown = parseDocument(text).getIn(path, true);
    if (!isScalar(node) || !node.range) throw new Error(`values.yaml has no ${path.join('.')}`);
    const [begin, end] = node.range;
    return `${text.slice(0, begin)}${stringify(schema.parse(undefined)).trimEnd()}${text.slice(end)}`;
  }, values);
}

/** What templates include as `assay.default.NAME`. */
export function defaultTemplates(): string {
  const templates = Object.entries(inTemplates).map(
    ([name, { schema }]) => `{{- define "assay.default.${name}" -}}${schema.parse(undefined)}{{- end }}\n`,
  );
  return `{{/* Defaults of settings, written by npm run generate. */}}\n${templates.join('')}`;
}
