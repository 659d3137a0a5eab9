import { nextStep } from '../../../policy/advice.ts';
import type { Reason } from '../../../wire/verdict.ts';
import type { JudgedBundle } from './verify.ts';

const levels = { fail: 'error', warn: 'warning', info: 'note' } as const;

/** A verdict as SARIF 2.1.0 (OASIS): one result a reason, one rule a code. */
export function sarif(file: string, { verdict, rejected }: JudgedBundle, version: string): object {
  const codes = [...new Set(verdict.reasons.map(({ code }) => code))];
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'assay',
            version,
            rules: codes.map((code) => ({ id: code, help: { text: nextStep({ code }) } })),
          },
        },
        artifacts: [{ location: { uri: encodeURI(file) } }],
        results: verdict.reasons.map((reason) => result(file, reason, codes.indexOf(reason.code))),
        properties: {
          state: verdict.state,
          earStatus: verdict.earStatus,
          rejected,
          ...(verdict.trial && { trial: true }),
        },
      },
    ],
  };
}

function result(file: string, reason: Reason, ruleIndex: number): object {
  const { code, severity, text, expected, actual, aspect, source, evidence } = reason;
  return {
    ruleId: code,
    ruleIndex,
    level: levels[severity],
    message: { text },
    locations: [
      {
        physicalLocation: { artifactLocation: { uri: encodeURI(file), index: 0 } },
        ...(evidence !== null && {
          logicalLocations: [{ name: evidence.position, fullyQualifiedName: evidence.digest }],
        }),
      },
    ],
    properties: { aspect, source, class: reason.class, expected, actual },
  };
}
