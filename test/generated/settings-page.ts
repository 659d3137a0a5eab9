import { z } from 'zod';
import { agentSettings } from '../../agent/config.ts';
import { gateSettings } from '../../agent/gate/config.ts';
import { brokerSettings } from '../../agent/tpm-broker/config.ts';
import { unlockSettings } from '../../agent/unlock/config.ts';
import { formerServerSettings, serverSettings } from '../../attest-server/config.ts';
import type { FormerSettings, Setting, Settings } from '../../attest-server/settings/settings.ts';

/** docs/reference-configuration.md, of the declarations of settings. */
export function settingsPage(): string {
  const sections = [
    head,
    '## Server',
    'Read by `assay-server`. SIGHUP reads again [some of the files](reference-commands.md#assay-server-and-its-signals) that it names, and not the settings.',
    settingsTable(serverSettings),
    'The earlier version had these, too. For one more version they are accepted with a warning, and have no effect:',
    formerTable(formerServerSettings),
    '## Agent',
    'Read by `assay-agent run`.',
    settingsTable(agentSettings),
    '## Gate',
    'Read by [`assay-agent gate`](gate.md).',
    settingsTable(gateSettings),
    '## Disk keys',
    'Read by [`assay-agent unlock`, `format` and `cap`](disk-keys.md).',
    settingsTable(unlockSettings),
    '## TPM broker',
    'Read by [`assay-agent tpm-broker`](privileges.md#the-tpm-broker), which has no file: variables and flags alone.',
    settingsTable(brokerSettings),
  ];
  return `${sections.join('\n\n')}\n`;
}

const head = `# Configuration reference

Every setting of the programs. This page is written by a program: see [CONTRIBUTING.md](../CONTRIBUTING.md#add-a-setting).

If a program has a file (\`--config FILE\`), it is YAML without aliases, with the keys below. A dot in a key means a mapping
(\`approvals: {separate: true}\`). A variable overrides the file, and a flag overrides both. Commas separate the items of a list in a variable.
Relative paths start at the folder where the program was started. A program reports all faults at once, each with its key, its variable
and its line in the file, and exits with 2.

\`assay-server schema > server.schema.json\` writes the [JSON schema](../attest-server/config.schema.json) of the file: editors complete and check
it where its first line is \`# yaml-language-server: $schema=server.schema.json\`. For the agent's file it is \`assay-agent schema\`, for the gate's
\`assay-agent schema gate\`, for disk keys \`assay-agent schema unlock\`. \`assay-server check --config FILE\` looks at settings, policy and the other files without
[starting anything](kubernetes.md#checking-a-configuration-before-use).`;

function settingsTable(settings: Settings): string {
  const rows = Object.entries(settings).map(([key, setting]) => {
    const { variable, flag, unit = '', schema } = setting;
    const also = flag === undefined ? `\`${variable}\`` : `\`${variable}\`, \`${flag}\``;
    return `| \`${key}\` | ${also} | ${defaultOf(setting)} | ${unit} | ${schema.description} |`;
  });
  return ['| key | variable, flag | default | unit | meaning |', '|---|---|---|---|---|', ...rows].join('\n');
}

function defaultOf({ schema }: Setting): string {
  if (!(schema instanceof z.ZodDefault)) return 'required';
  const values: readonly unknown[] = [schema.parse(undefined) ?? []].flat();
  return values.length === 0 ? 'none' : values.map((value) => `\`${value}\``).join(', ');
}

function formerTable(settings: FormerSettings): string {
  const rows = Object.entries(settings).map(
    ([key, { variable, instead }]) => `| \`${key}\` | \`${variable}\` | ${instead} |`,
  );
  return ['| key | variable | what holds now |', '|---|---|---|', ...rows].join('\n');
}
