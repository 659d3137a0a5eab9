import type { Command } from 'commander';

/** Examples to type, by command. A test finds a command that has none, and an example that does not parse. */
const examples: Readonly<Record<string, readonly string[]>> = {
  '': ['assay get nodes', 'assay why node-2', 'assay get nodes --state untrusted --watch', 'assay status'],
  'get nodes': [
    'assay get nodes',
    'assay get nodes --state untrusted,unknown --sort-by since',
    'assay get nodes node-1 node-2 -o json',
    "assay get nodes -o jsonpath='{.items[*].name}'",
    'assay get nodes -o custom-columns=NAME:.name,KERNEL:.kernel',
    'assay get nodes --watch',
    'assay get nodes --wait trusted --timeout 5m',
  ],
  'get enrolments': ['assay get enrolments', 'assay get enrolments worker-1 -o json'],
  'get references': ['assay get references', 'assay get references --kind boot -o name'],
  'get policy': ['assay get policy', 'assay get policy -o name'],
  'get join-tokens': ['assay get join-tokens'],
  'get tokens': ['assay get tokens'],
  'describe node': ['assay describe node node-2', 'assay describe node-2 -o yaml'],
  why: ['assay why node-2', 'assay why node-2 -o json'],
  history: ['assay history node-2 --transitions', 'assay history node-2 --limit 10 -o wide'],
  events: [
    'assay events --node node-2',
    'assay events --follow --event node.state,breaker.open',
    'assay events --follow -o json',
  ],
  attest: [
    'assay attest node-2',
    'assay attest node-2 --timeout 2m -o json',
    'assay attest node-2 --no-wait',
  ],
  bundle: ['assay bundle node-2 -f node-2.json'],
  verify: [
    'assay verify node-2.json',
    'assay verify node-2.json --policy strict --references references/ --trust-roots builtin',
    'assay bundle node-2 | assay verify -',
    'assay verify bundles/ --trust-roots builtin -o json',
  ],
  eventlog: [
    'assay eventlog /sys/kernel/security/tpm0/binary_bios_measurements',
    'ssh worker-1 cat /sys/kernel/security/tpm0/binary_bios_measurements | assay eventlog -',
  ],
  'boot diff': ['assay boot diff node-1 node-2', 'assay boot diff good.json bad.json -o json'],
  declare: [
    'assay declare fleet/',
    'assay declare fleet/ --restore workers-2026-10',
    'assay declare fleet/ --check --key keys/merge.pub',
  ],
  'reference list': ['assay reference list', 'assay reference list --kind boot -o name'],
  'reference candidates': [
    'assay reference candidates',
    'assay reference candidates --group workers -o json',
  ],
  'reference capture': [
    'assay reference capture node-1 --name workers-2026-11',
    'assay reference capture node-1 node-2 --name workers-2026-11 --staged',
    'assay reference capture node-1 --name workers-rescue --reason "the new line is wanted"',
    'assay reference capture node-1 --kind runtime --only /usr/local/bin/tool --name tool --staged',
    'assay reference capture node-1 --kind runtime --initrd --only /etc/crypttab --name crypttab',
  ],
  'reference approve': ['assay reference approve workers-2026-11 --reason "reviewed with the kernel update"'],
  'reference retire': ['assay reference retire workers-2026-10 --reason "no node boots it any longer"'],
  'reference revoke': [
    'assay reference revoke workers-2026-10 --reason "the kernel has a known hole" --dry-run',
    'assay reference revoke workers-2026-10 --reason "the kernel has a known hole"',
  ],
  'reference restore': ['assay reference restore workers-2026-10 --reason "revoked by mistake"'],
  'reference delete': ['assay reference delete debian-13.1 --reason "no node runs it any longer"'],
  'reference export': ['assay reference export workers-2026-11 -o yaml -f workers-2026-11.yaml'],
  'reference import': [
    'assay reference import workers-2026-11.yaml --staged',
    'assay reference import /var/lib/pcrlock.d --name worker-1 --group workers',
    'assay reference import mb_refstate.json --name workers-keylime --group workers',
  ],
  'reference diff': [
    'assay reference diff workers-2026-10 workers-2026-11',
    'assay reference diff ./a.json ./b.json',
  ],
  'reference compute': [
    'assay reference compute --name workers-6.12 --group workers --kernel vmlinuz --initrd initrd.img --loader shimx64.efi --loader grubx64.efi --cmdline "root=/dev/vda1 ro" -f workers-6.12.json',
  ],
  expect: [
    'assay expect --group workers --kernel vmlinuz-6.12.119 --for 8h --reason "kernel update"',
    'assay expect worker-1 --reference workers-2026-12 --until 2026-12-01T08:00:00Z --reason "first of ten"',
    'assay expect',
    'assay expect --end workers-2026-12',
  ],
  'reference runtime': [
    'assay reference runtime --name debian-13.2 --group workers --from-dpkg /var/cache/apt/archives -f debian-13.2.json',
    'assay reference runtime --name site --group workers --from-node worker-1 --policy ima-policy -f site.json',
    'assay reference runtime --name el9 --group el9 --from-rpm packages/ --from-keylime runtime_policy.json -f el9.json',
  ],
  'policy show': [
    'assay policy show',
    'assay policy show -o json',
    'assay policy show --revision e25b -f policy.yaml',
  ],
  'policy history': ['assay policy history', 'assay policy history -o json'],
  'policy diff': ['assay policy diff', 'assay policy diff 333d e25b'],
  'policy rollback': [
    'assay policy rollback 333d --reason "the new one forbids rhgb, which every node has" --dry-run',
    'assay policy rollback 333d --reason "the new one forbids rhgb, which every node has"',
  ],
  'policy allow': ['assay policy allow e25b0a91c7d4 --reason "these nodes should lose their trust"'],
  'policy check': [
    'assay policy check policy.yaml',
    'assay policy check policy.yaml --latched',
    'git show HEAD:policy.yaml | assay policy check -',
  ],
  'policy schema': ['assay policy schema'],
  'policy simulate': [
    'assay policy simulate policy.yaml',
    'assay policy simulate strict --bundles bundles/ --all',
  ],
  'policy suggest': ['assay policy suggest -f policy.yaml'],
  'join-token create': ['assay join-token create --node worker-1 --ttl 30m'],
  'join-token list': ['assay join-token list', 'assay join-token list --all -o json'],
  'join-token revoke': ['assay join-token revoke hS3cV0kq9a_L'],
  'enrol list': ['assay enrol list', 'assay enrol list -o json'],
  'enrol approve': [
    'assay enrol approve worker-1 --ek 5a7c3f0e1d2b4a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1',
    'assay enrol approve --all',
  ],
  'enrol revoke': [
    'assay enrol revoke worker-1 --reason "the board was exchanged"',
    'assay enrol revoke worker-1 --reason "it was taken over" --erase-evidence',
  ],
  'disk init': ['assay disk init worker-1 --volume docker --path /var/lib/docker'],
  'disk list': ['assay disk list', 'assay disk list worker-1 -o wide'],
  'disk rotate': ['assay disk rotate worker-1 docker', 'assay disk rotate worker-1 docker --cancel'],
  'disk remove': ['assay disk remove worker-1 docker'],
  'disk revoke': ['assay disk revoke worker-1 docker --reason "the machine was stolen"'],
  'disk restore': ['assay disk restore worker-1 docker --reason "it was found, and nobody had opened it"'],
  'disk rewrap': ['assay disk rewrap'],
  'disk escrow': [
    'assay disk escrow worker-1 docker -f worker-1-docker.age',
    'assay disk escrow worker-1 docker -f worker-1-docker.age --header worker-1-docker-header.age',
  ],
  'disk recover': [
    'assay disk recover worker-1-docker.age --identity recovery.txt',
    'assay disk recover worker-1-docker-header.age --identity recovery.txt -f header.img',
  ],
  'token create': [
    'assay token create --name alice --role operator --ttl 8h',
    'assay token create --name grafana --role reader',
  ],
  'token list': ['assay token list'],
  'token revoke': ['assay token revoke alice'],
  'ek import': ['assay ek import inventory.csv'],
  'ek roots': ['assay ek roots', 'assay ek roots --intermediates -o json'],
  'audit list': [
    'assay audit list --since 2h',
    'assay audit list --node node-2 --limit 20',
    'assay audit list --actor alice --action enrol.approve,enrol.revoke -o json',
    'assay audit list --from backups/assay-2026-11-20T08-00-00.db --action policy.load',
  ],
  doctor: ['assay doctor', 'assay doctor --config /etc/assay/server.yaml -o json'],
  'audit export': ['assay audit export audit.jsonl', 'assay audit export audit.jsonl --resume'],
  'audit rotate-key': ['assay audit rotate-key'],
  'audit resolve': ['assay audit resolve --reason "restored from the backup of Monday"'],
  'audit verify': ['assay audit verify', 'assay audit verify audit.jsonl --checkpoint audit-checkpoint.json'],
  pause: ['assay pause --reason "a wrong reference was approved"'],
  resume: ['assay resume'],
  'breaker list': ['assay breaker list', 'assay breaker list -o json'],
  'breaker hold': ['assay breaker hold workers --reason "the update is right, its reference is missing"'],
  'breaker release': [
    'assay breaker release workers --reason "nobody knows this kernel" --dry-run',
    'assay breaker release workers --code kernel_unknown --reason "nobody knows this kernel"',
  ],
  exempt: [
    'assay exempt node-2 --reason "the only node with that disk" --for 2h',
    'assay exempt node-2 --reason "until it is replaced" --until 2026-12-01T08:00:00Z',
    'assay exempt node-2 --end',
  ],
  'trust enable': [
    'assay trust enable --dry-run',
    'assay trust enable --group workers --audit-key-copy audit.key',
  ],
  'trust status': ['assay trust status'],
  unmark: [
    'assay unmark --all --dry-run',
    'assay unmark --all --direct --kubeconfig admin.conf',
    'assay unmark --all --cluster-uid 3d2c0c7e-8a52-4b3f-9a57-0e6c3f1f9d11 --reason "the cluster is given up"',
  ],
  backup: ['assay backup'],
  'authority status': ['assay authority status'],
  'authority rotate': ['assay authority rotate'],
  'authority finish': ['assay authority finish'],
  'authority retire': ['assay authority retire'],
  'authority export': ['assay authority export assay-ca.crt'],
  status: ['assay status', 'assay status -o json'],
  'webhook test': ['assay webhook test'],
  version: ['assay version', 'assay version --client'],
  whoami: ['assay whoami', 'assay whoami --token-file alice.token'],
  'context list': ['assay context list'],
  'context current': ['assay context current'],
  'context use': ['assay context use production'],
  completion: [
    'source <(assay completion bash)',
    'assay completion zsh > ~/.zfunc/_assay',
    'assay completion fish > ~/.config/fish/completions/assay.fish',
  ],
};

/** All of them. */
export function exampleLines(): readonly string[] {
  return Object.values(examples).flat();
}

/** Puts the examples below the help of each command; a family of commands shows the first one of each. */
export function addExamples(command: Command, path = ''): readonly string[] {
  const ofChildren = command.commands.flatMap(
    (each) => addExamples(each, `${path} ${each.name()}`.trim())[0] ?? [],
  );
  const lines = examples[path] ?? ofChildren;
  if (lines.length > 0)
    command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}`);
  return lines;
}
