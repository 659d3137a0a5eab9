import { type Command, Option } from 'commander';
import type { ApproveOptions } from './commands/enrol.ts';
import type { GetOptions } from './commands/get.ts';
import type { HistoryOptions } from './commands/history.ts';
import type { CaptureOptions, ListOptions } from './commands/reference.ts';
import type { TokenOptions } from './commands/token.ts';
import type { CliContext } from './context.ts';
import type { AuditVerifyOptions } from './offline/audit/command.ts';
import type { EventLogOptions } from './offline/boot/eventlog.ts';
import type { ComputeOptions } from './offline/compute/command.ts';
import type { CheckOptions } from './offline/policy/command.ts';
import type { SimulateOptions } from './offline/policy/simulate.ts';
import type { VerifyOptions } from './offline/verify/command.ts';
import type { EkRootsOptions } from './offline/verify/ek-roots.ts';
import { type Format, formatOf } from './output.ts';

/**
 * The command line as its users see it: names, arguments, options. What a command does is in the module that its
 * action loads, so that help and version wait for none of them.
 */
export function addCommands(program: Command, context: CliContext): void {
  addNodes(program, context);
  addEvidence(program, context);
  addReferences(program, context);
  addPolicies(program, context);
  addEnrolment(program, context);
  addServer(program, context);
}

interface Formatted {
  readonly output: Format;
}
interface ToFile {
  readonly file?: string;
}
interface Reasoned {
  readonly reason: string;
}

function addNodes(program: Command, context: CliContext): void {
  const get = program.command('get').description('list nodes and their states');
  get
    .command('nodes [name]')
    .alias('node')
    .description('nodes and their states')
    .addOption(outputOption('table', 'wide', 'json', 'yaml', 'name'))
    .option(
      '--wait <state>',
      'wait until every node listed is pending, trusted, untrusted, unknown, unsupported',
    )
    .option('--timeout <duration>', 'how long --wait waits: 90s, 5m, 1h', '60s')
    .option('--utc', 'times as RFC 3339 instead of ages')
    .action(async (name: string | undefined, options: GetOptions) =>
      (await import('./commands/get.ts')).getNodes(context, name, options),
    );
  const describe = program.command('describe').description('everything about one node');
  describe
    .command('node <name>')
    .description('everything about one node')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (name: string, { output }: Formatted) =>
      (await import('./commands/describe.ts')).describeNode(context, name, output),
    );
  program
    .command('why <node>')
    .description('why a node is in its state, and what to do')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (node: string, { output }: Formatted) =>
      (await import('./commands/why.ts')).explainNode(context, node, output),
    );
  program
    .command('history <node>')
    .description('verdicts of a node, newest first')
    .addOption(outputOption('table', 'wide', 'json', 'yaml'))
    .option('--limit <count>', 'at most so many, 1 to 500', '50')
    .option('--transitions', 'only where the state changed, as far back as the history goes')
    .option('--before <next>', 'older ones: the `next` of an earlier answer with -o json')
    .option('--utc', 'times as RFC 3339 instead of ages')
    .action(async (node: string, options: HistoryOptions) =>
      (await import('./commands/history.ts')).showHistory(context, node, options),
    );
}

function addEvidence(program: Command, context: CliContext): void {
  program
    .command('bundle <node>')
    .description('export the evidence behind a verdict')
    .option(
      '--evidence <digest>',
      'of an earlier verdict: as `assay history -o wide` shows it; default: the latest',
    )
    .option('-f, --file <file>', 'write it there instead of standard output')
    .action(async (node: string, options: ToFile & { readonly evidence?: string }) =>
      (await import('./commands/bundle.ts')).exportBundle(context, node, options),
    );
  program
    .command('verify <bundle>')
    .description('judge an exported bundle again, offline')
    .option('--policy <file>', "a policy file, or strict or observe; default: the bundle's own")
    .option('--references <dir>', "folder of reference values; default: the bundle's own")
    .option('--trust-roots <dir>', 'folder of *.pem: authorities that endorse TPMs; or builtin')
    .addOption(outputOption('table', 'json', 'yaml', 'junit', 'sarif'))
    .action(async (bundle: string, options: VerifyOptions) =>
      (await import('./offline/verify/command.ts')).judgeBundle(context, bundle, options),
    );
  program
    .command('eventlog <file>')
    .description('parse and replay a TCG event log, offline')
    .option('--userspace <file>', 'also what systemd measured later: its tpm2-measure.log of the same boot')
    .addOption(outputOption('table', 'json'))
    .action(async (file: string, options: EventLogOptions) =>
      (await import('./offline/boot/eventlog.ts')).showEventLog(context, file, options),
    );
  const boot = program
    .command('boot')
    .description('boots: what a machine measured from its firmware to its kernel');
  boot
    .command('diff <a> <b>')
    .description(
      'what differs between two boots, the good one first: files (a firmware log, an exported bundle), or nodes at the server, NODE or NODE@DIGEST as `assay history -o wide` shows it',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (a: string, b: string, { output }: Formatted) =>
      (await import('./offline/boot/diff.ts')).showBootDiff(context, a, b, output),
    );
}

function addReferences(program: Command, context: CliContext): void {
  const references = program
    .command('reference')
    .description('reference values: what nodes should have booted');
  references
    .command('list')
    .description('references that the server holds')
    .option('--kind <kind>', 'only those of boot, runtime, firewall, disk')
    .addOption(outputOption('table', 'json', 'yaml', 'name'))
    .action(async (options: ListOptions) =>
      (await import('./commands/reference.ts')).listReferences(context, options),
    );
  references
    .command('capture <node...>')
    .description('make references of what up to 64 nodes last proved; you vouch for these nodes')
    .requiredOption('--name <name>', 'name of the new reference')
    .option('--staged', 'keep it for review: it makes nobody trusted yet')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (nodes: readonly string[], options: CaptureOptions) =>
      (await import('./commands/reference.ts')).captureReference(context, nodes, options),
    );
  for (const [action, description] of [
    ['approve', 'put a staged reference in force: boots like it are trusted'],
    ['retire', 'take a reference out of force: boots like it are no longer known'],
    ['revoke', 'mark boots like this reference as bad, for good'],
  ] as const)
    references
      .command(`${action} <name>`)
      .description(`${description}; first says whom that would change`)
      .requiredOption('--reason <text>', 'why; it goes into the audit log')
      .addOption(outputOption('table', 'json', 'yaml'))
      .action(async (name: string, options: Formatted & Reasoned) =>
        (await import('./commands/reference.ts')).changeReference(context, action, name, options),
      );
  references
    .command('export <name>')
    .description('a reference with its values, as a file for Git or for import at another server')
    .option('-f, --file <file>', 'write it there instead of standard output')
    .addOption(outputOption('json', 'yaml'))
    .action(async (name: string, options: Formatted & ToFile) =>
      (await import('./commands/reference.ts')).exportReference(context, name, options),
    );
  references
    .command('import <file>')
    .description('give the server a reference that was computed, exported or kept in Git; you vouch for it')
    .option('--staged', 'keep it for review: it makes nobody trusted yet')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string, options: Formatted & { readonly staged?: boolean }) =>
      (await import('./commands/reference.ts')).importReference(context, file, options),
    );
  references
    .command('diff <a> <b>')
    .description(
      'what differs between two references: names at the server, or files (with a / or .json, .yaml)',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (a: string, b: string, { output }: Formatted) =>
      (await import('./offline/reference-diff.ts')).showReferenceDiff(context, a, b, output),
    );
  references
    .command('compute')
    .description('make a reference file of kernel, initrd, loader or unified image, offline')
    .requiredOption('--name <name>', 'name of the new reference')
    .requiredOption('--group <group>', 'group of nodes that it is for')
    .option('--kernel <file>', 'a kernel image; may be given several times', several, [])
    .option('--initrd <file>', 'an initrd; several in the order in which they are loaded', several, [])
    .option('--loader <file>', 'an image that runs before the kernel: shim, GRUB, systemd-boot', several, [])
    .option('--uki <file>', 'a unified kernel image, which has kernel, initrd and command line in it')
    .option('--cmdline <text>', 'the command line, as /proc/cmdline shows it')
    .option('--cmdline-file <file>', 'a file that holds it, such as a copy of /proc/cmdline')
    .option('--via <starter>', 'who starts the kernel: grub, systemd-boot, firmware', 'grub')
    .option('--no-secure-boot', 'Secure Boot is off: then GRUB starts a kernel that PCR 4 does not show')
    .option('--state <state>', 'staged (for review) or active', 'staged')
    .option('-f, --file <file>', 'write it there instead of standard output')
    .addOption(outputOption('json', 'yaml'))
    .action(async (options: ComputeOptions) =>
      (await import('./offline/compute/command.ts')).writeComputedReference(context, options),
    );
}

function addPolicies(program: Command, context: CliContext): void {
  const policies = program
    .command('policy')
    .description('what is wanted of nodes: check it, try it, draft it');
  policies
    .command('check <file>')
    .description('is this policy valid? Names every fault with file, line and field, and what is doubtful')
    .option('--references <dir>', 'also say which of these references count for one node alone')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string, options: CheckOptions) =>
      (await import('./offline/policy/command.ts')).checkPolicyFile(context, file, options),
    );
  policies
    .command('schema')
    .description('the JSON schema of policy files, for editors and other programs')
    .action(async () => (await import('./offline/policy/command.ts')).printPolicySchema(context));
  policies
    .command('simulate <file>')
    .description('whom would this policy change, and why? A file, or strict or observe; nothing is stored')
    .option('--bundles <dir>', 'try it on exported bundles instead of the evidence that the server keeps')
    .option('--references <dir>', "with --bundles: folder of reference values; default: each bundle's own")
    .option('--all', 'show the nodes too that do not change')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string, options: SimulateOptions) =>
      (await import('./offline/policy/simulate.ts')).simulatePolicy(context, file, options),
    );
  policies
    .command('suggest')
    .description('draft a policy from what was observed, as YAML: machines that start alike become a group')
    .option('--bundles <dir>', 'draft it from exported bundles instead of the evidence that the server keeps')
    .option('-f, --file <file>', 'write it there instead of standard output')
    .action(async (options: ToFile & { readonly bundles?: string }) =>
      (await import('./offline/policy/suggest.ts')).draftPolicy(context, options),
    );
}

function addEnrolment(program: Command, context: CliContext): void {
  const joinTokens = program.command('join-token').description('tokens with which a new node enrols once');
  joinTokens
    .command('create')
    .description('make one')
    .requiredOption('--node <name>', 'the only name that it enrols')
    .option('--ttl <duration>', 'how long it can be used: 30m, 2h, at most 24h', '1h')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: Formatted & { readonly node: string; readonly ttl: string }) =>
      (await import('./commands/join-token.ts')).createJoinToken(context, options),
    );
  const enrolments = program.command('enrol').description('which TPM is which node, by your approval');
  enrolments
    .command('list')
    .description('TPMs that claimed a name and for which nobody has vouched; all of it is their own claim')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('./commands/enrol.ts')).listCandidates(context, output),
    );
  enrolments
    .command('approve [node]')
    .description(
      'let a TPM enrol under this name when it next comes; compare its digest on the machine first',
    )
    .option('--ek <digest>', 'SHA-256 of its endorsement key, as enrol list shows it: all 64 hex digits')
    .option('--all', 'instead: make approvals of all bindings by first use')
    .action(async (node: string | undefined, options: ApproveOptions) =>
      (await import('./commands/enrol.ts')).approveEnrolment(context, node, options),
    );
  enrolments
    .command('revoke <node>')
    .description('free a name: its TPM is no node until somebody vouches for it again')
    .requiredOption('--reason <text>', 'why, for the audit log')
    .action(async (node: string, { reason }: Reasoned) =>
      (await import('./commands/enrol.ts')).revokeEnrolment(context, node, reason),
    );
  const tokens = program
    .command('token')
    .description('tokens for this API: people and programs, each under a name');
  tokens
    .command('create')
    .description('make one; its text is shown once')
    .requiredOption('--name <name>', 'who it is for, as the audit log will name them')
    .requiredOption('--role <role>', 'reader, operator, admin')
    .option('--ttl <duration>', 'how long it can be used: 8h, 30d; without it, until it is revoked')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: TokenOptions) =>
      (await import('./commands/token.ts')).createToken(context, options),
    );
  tokens
    .command('list')
    .description('named tokens, without their text')
    .addOption(outputOption('table', 'json', 'yaml', 'name'))
    .action(async ({ output }: Formatted) =>
      (await import('./commands/token.ts')).listTokens(context, output),
    );
  tokens
    .command('revoke <name>')
    .description('refuse a token from now on')
    .action(async (name: string) => (await import('./commands/token.ts')).revokeToken(context, name));
  const ek = program.command('ek').description('endorsement keys of nodes');
  ek.command('import <file>')
    .description('bind nodes to endorsement keys: CSV lines node,SHA-256 of TPMT_PUBLIC in hex')
    .action(async (file: string) => (await import('./commands/ek.ts')).importPins(context, file));
  ek.command('roots')
    .description('authorities that endorse TPMs, as they come with assay')
    .option('--from <dir>', 'another folder of *.pem', 'builtin')
    .option('--intermediates', 'the authorities below the roots instead')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (options: EkRootsOptions) =>
      (await import('./offline/verify/ek-roots.ts')).listRoots(context, options),
    );
}

function addServer(program: Command, context: CliContext): void {
  const audit = program
    .command('audit')
    .description('the audit log: who did what, and whether anybody changed it');
  audit
    .command('export <file>')
    .description('write entries, keys and checkpoints as JSON lines; - is standard output')
    .option('--resume', 'go on behind the last checkpoint of an export that was interrupted')
    .action(async (file: string, { resume = false }: { readonly resume?: boolean }) =>
      (await import('./offline/audit/export.ts')).exportAuditLog(context, file, resume),
    );
  audit
    .command('rotate-key')
    .description('put a new audit key in the place of the old one, which signs it')
    .action(async () => (await import('./commands/audit.ts')).rotateAuditKey(context));
  audit
    .command('resolve')
    .description(
      'say why the audit log is another one than was signed (audit_rollback); until then verify ends with 10',
    )
    .requiredOption('--reason <text>', 'why; it goes into the audit log')
    .action(async ({ reason }: Reasoned) =>
      (await import('./commands/audit.ts')).resolveRollback(context, reason),
    );
  audit
    .command('verify [file]')
    .description("check an export, a database or a backup, offline; without a file, the server's audit log")
    .option('--resume', 'of the server: go on after the last checkpoint that was verified from here')
    .option('--checkpoint <file>', 'a witness from elsewhere, such as audit-checkpoint.json of an agent')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (file: string | undefined, options: AuditVerifyOptions) =>
      (await import('./offline/audit/command.ts')).verifyAuditLog(context, file, options),
    );
  program
    .command('backup')
    .description('copy the database, consistent while the server runs; prints where the copy is')
    .action(async () => (await import('./commands/backup.ts')).backUp(context));
  addAuthority(program, context);
}

const authoritySteps = `
One authority follows another in three steps:
  1. assay authority rotate   makes the next one; it is announced to agents under the one in force
  2. assay authority finish   once status shows that every node trusts it: the server uses the new one
  3. assay authority retire   the old one is forgotten, by agents too
Other holders of the authority's file (callers of the API) get it from assay authority export.
`;

function addAuthority(program: Command, context: CliContext): void {
  const authority = program
    .command('authority')
    .description("the authority of the server's own certificate, and its replacement")
    .addHelpText('after', authoritySteps);
  authority
    .command('status')
    .description('the authorities, and which nodes do not trust the newer one yet')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('./commands/authority.ts')).showAuthority(context, output),
    );
  authority
    .command('rotate')
    .description('step 1: make the next authority, and announce it')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('./commands/authority.ts')).changeAuthority(context, 'rotate', {}, output),
    );
  authority
    .command('finish')
    .description('step 2: use it; refused while nodes do not trust it yet')
    .addOption(outputOption('table', 'json', 'yaml'))
    .option(
      '--force',
      'also while nodes do not trust it yet: these refuse the server until somebody gives them its file',
    )
    .action(async ({ output, force = false }: Formatted & { readonly force?: boolean }) =>
      (await import('./commands/authority.ts')).changeAuthority(context, 'finish', { force }, output),
    );
  authority
    .command('retire')
    .description('step 3: announce the old one no more')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async ({ output }: Formatted) =>
      (await import('./commands/authority.ts')).changeAuthority(context, 'retire', {}, output),
    );
  authority
    .command('export <file>')
    .description('write the authorities as PEM, for caFile of agents and --ca-file; - is standard output')
    .action(async (file: string) => (await import('./commands/authority.ts')).exportAuthority(context, file));
}

/** The formats that a command prints; the first one is its default. */
function outputOption(...formats: readonly [Format, ...Format[]]): Option {
  const listed = `${formats.slice(0, -1).join(', ')} or ${formats.at(-1)}`;
  return new Option('-o, --output <format>', listed)
    .default(formats[0])
    .argParser((given) => formatOf(given, formats));
}

/** An option that may be given several times. */
function several(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}
