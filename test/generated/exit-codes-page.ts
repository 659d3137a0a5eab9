import { openedExit } from '../../agent/gate/exit-code.ts';
import { exitMeanings } from '../../attest-server/cli/exit.ts';

/** docs/reference-exit-codes.md, of the codes with which programs end. */
export function exitCodesPage(): string {
  return `# Exit codes

With which code each program ends. This page is written by a program: see [CONTRIBUTING.md](../CONTRIBUTING.md#generated-files).

## assay

| code | meaning |
|---|---|
${exitMeanings.map(({ code, meaning }) => `| ${code} | ${meaning} |`).join('\n')}

| command | ends with |
|---|---|
| \`describe\`, \`why\`, \`attest\`, \`verify\` | the state of the node: 0, 10 or 11; with several nodes, the worst state. \`verify\` also exits with 10 for rejected evidence |
| \`attest\` | also 11 if no verdict came in time |
| \`get\`, \`history\` | 0, whatever the states are; \`get nodes --wait STATE\` with 11 if time ran out |
| \`boot diff\`, \`reference diff\`, \`policy diff\` | 10 if the two differ |
| \`policy simulate\` | 10 if a node would turn untrusted, 12 if [the latch](kubernetes-safety.md#trust-for-good-the-latch) refuses the policy |
| \`policy check --latched\` | 12 if the latch refuses the policy |
| any command with \`--dry-run\` | 10 if a node would turn untrusted, or would refuse the server; else 0 |
| a command that [asks](reference-commands.md#commands-that-ask) | 1 if the answer is not \`y\` or \`yes\`; 2 if it cannot ask and \`--yes\` is missing |
| \`audit verify\` | 10 if an entry is wrong or missing, or [was](backup.md#the-audit-log) and nobody explained it |
| \`breaker list\`, \`breaker hold\` | 12 while taints wait for a person |
| \`trust status\` | 11 if trust is not enabled for good |
| \`status\` | 11 if the server is not ready |
| \`version\` | 1 if the server does not answer; it still shows its own version |
| \`webhook test\` | 1 if the receiver did not take the message |

If the server does not know one of several nodes, the others are shown and the exit code is 1.

## assay-server and assay-agent

| program | ends with |
|---|---|
| \`assay-server\`, \`assay-agent run\` | 0 after SIGTERM or SIGINT, 2 for a faulty configuration, 1 for a fault that waiting cannot repair |
| \`assay-server check\` | 0 if a server would take the configuration, 2 if it has a fault |
| \`assay-agent inspect\` | 0 once all is written, 1 if a part is not |
| \`assay-agent health\` | 0 if the program is alive (with \`--ready\`: and ready), 1 if not, or if no answer comes within two seconds |
| any of them | 2 for a wrong command line |

## assay-agent gate

| why the gate ends | code |
|---|---|
${Object.entries(openedExit)
  .map(([why, code]) => `| [\`${why}\`](gate.md#when-it-opens) | ${code} |`)
  .join('\n')}
| its time is over, and it holds | 12 |
| a fault | 1 |
| a wrong command line or configuration | 2 |

## Programs that ask a cloud

| code | meaning |
|---|---|
| 0 | found: the digest of the endorsement key is on standard output |
| 1 | no answer |
| 2 | wrong usage |
| 3 | the cloud does not know the machine, or the machine has no TPM ([clouds](clouds.md)) |
`;
}
