import { nextStep } from '../../attest-server/policy/advice.ts';
import { aspects } from '../../attest-server/policy/aspects.ts';
import { unproven } from '../../attest-server/policy/finding.ts';
import { isCommand } from '../../attest-server/wire/advice.ts';
import { classOf, type ReasonCode, reasonCodes } from '../../attest-server/wire/reasons.ts';
import { type FindingPlace, findingPlaces, meanings } from './meanings.ts';

/** docs/troubleshooting.md, of the closed list of codes, their meanings, and the advice that `assay why` gives. */
export function troubleshootingPage(): string {
  const places = findingPlaces.filter((place) => place !== 'later');
  return `${[head, index(places), ...places.map(section), later()].join('\n\n')}\n`;
}

const head = `# Troubleshooting by reason code

\`assay why NODE\` gives the codes of a node with everything that is known of it, and the same advice with names and digests filled in: type
that first. This page is for a code that you meet in an alert, a log or a metric. \`NODE\` is the name of the node, \`GROUP\` its
group in the policy, \`EK_DIGEST\` the digest of its endorsement key, \`FILE_DIGEST\` that of a file, \`NEW_NAME\` a name of your choice.

The class says [who should care](watching.md#reason-codes): \`drift\` an update does this too, \`posture\` known and not as wanted, \`service\`
late or missing, \`failed\` a proof failed or somebody lies. *Pending* stands where a code leaves a node \`pending\` and does not make it
\`untrusted\`. What is refused as evidence changes no state: *enrolment* and *signature* are full of such codes. The policy may set the
[severity](policy.md) of each. This page is written by a program: see [CONTRIBUTING.md](../CONTRIBUTING.md#add-a-reason-code).`;

/** Heading, and the aspects whose reasons these are. */
const titles: Readonly<Record<FindingPlace, readonly [string, string]>> = {
  service: ['Nothing new is known', 'any aspect'],
  enrolment: ['Enrolment: which machine it is', 'aspect `identity`'],
  quote: ['Signature: what the TPM signed', 'aspect `identity`'],
  time: [
    'Counters and clocks of the TPM',
    'aspect `identity`; `boot_correlation` and `kexec_detected`: `boot`',
  ],
  log: ['The boot log', 'aspect `boot`'],
  boot: ['What was booted', 'aspect `boot`; references of other kinds, too'],
  runtime: ['What ran since the boot', 'aspect `runtime`'],
  disk: ['Disks', 'aspect `disk`'],
  firewall: ['Firewall', 'aspect `firewall`'],
  host: ['The running host', 'aspect `host`'],
  keys: ['Disk keys', 'no aspect: the server answers with these when a node or a person asks for a key'],
  server: ['Server and cluster', 'no aspect: these are not findings about a node’s evidence'],
  later: ['Not given by this version', ''],
};

const codesOf = (wanted: FindingPlace) => reasonCodes.filter((code) => meanings[code][0] === wanted);

function index(places: readonly FindingPlace[]): string {
  const rows = places.map((place) => {
    const codes = codesOf(place).map((code) => `[\`${code}\`](#${code})`);
    return `| ${titles[place][0]} | ${codes.join(', ')} |`;
  });
  return ['| about | codes |', '|---|---|', ...rows].join('\n');
}

function section(place: FindingPlace): string {
  const [title, aspect] = titles[place];
  return [
    `## ${title}`,
    `${aspect.charAt(0).toUpperCase()}${aspect.slice(1)}.`,
    ...codesOf(place).map(entry),
  ].join('\n\n');
}

function entry(code: ReasonCode): string {
  const kind = unproven.has(code) ? `${classOf(code)}, pending` : classOf(code);
  const own = aspects.filter(({ advice }) => advice[code] !== undefined);
  const steps =
    own.length < 2
      ? listOf(nextStep({ code }))
      : own.map(({ name }) => `For \`${name}\`:\n\n${listOf(nextStep({ code, aspect: name }))}`).join('\n\n');
  return `### ${code}\n\n*${kind}.* ${meanings[code][1]}\n\n${steps}`;
}

/** An item for each step, with its commands. */
function listOf(advice: string): string {
  const items: string[] = [];
  for (const line of advice.split('\n'))
    if (isCommand(line)) items.push(`${items.pop() ?? ''} \`${line.trim()}\``);
    else items.push(`- ${line.replace(/docs\/([\w-]+\.md)/g, '[$1]($1)')}`);
  return items.join('\n');
}

function later(): string {
  const rows = codesOf('later').map((code) => `| \`${code}\` | ${classOf(code)} | ${meanings[code][1]} |`);
  return [
    `## ${titles.later[0]}`,
    'The list is closed, so that programs need no change when a part is built.',
    ['| code | class | would mean |', '|---|---|---|', ...rows].join('\n'),
  ].join('\n\n');
}
