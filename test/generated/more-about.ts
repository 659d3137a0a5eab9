/** What docs/reference-commands.md adds below the help of a command, and where to read on. */
export const moreAbout: Readonly<Record<string, string>> = {
  'assay get nodes':
    '[Filter, sort and watch](#nodes-in-lists). What the states mean: [how it works](concepts.md#states).',
  'assay describe node': '`assay describe NODE` is the same.',
  'assay why':
    'For each reason it shows what was expected and what was found, who says so, the evidence, and the next commands, ready to type (`next` in `-o json`). Then it shows what is known of the node, its connection and its latest changes. For a name that is not enrolled it shows which TPM claims it, and why that TPM was refused. [Every reason code](troubleshooting.md).',
  'assay attest': 'The exit code is that of the new state.',
  'assay history': '`-o wide` has the digests of the evidence.',
  'assay bundle':
    'Whoever has the bundle can judge it with `assay verify`. It holds the evidence, and the policy, references and authorities by which it was judged.',
  'assay verify': '[What `boot` in `-o json` means](boot-facts.md#boot-of-assay-verify--o-json).',
  'assay boot diff':
    'It says what differs in one sentence, and then event by event ([what differs](references.md#what-differs)).',
  'assay expect': '[Announce a change](references.md#announce-a-change).',
  'assay declare': '[From Git](references.md#from-git).',
  'assay reference list': '`-o wide` adds who took the latest step, when and why.',
  'assay reference candidates': '[What no reference has yet](references.md#what-no-reference-has-yet).',
  'assay reference capture':
    'It says which files nobody has seen. It asks where [something stands against a node](references.md#what-a-capture-asks), and where nodes lack [a proof that the reference would demand](references.md#what-a-capture-demands). With `--initrd` it captures [what is in the initrds](initrd.md).',
  'assay reference approve':
    '[Which nodes a step would change](references.md#whom-a-step-changes); it [asks](#commands-that-ask).',
  'assay reference retire':
    '[Which nodes a step would change](references.md#whom-a-step-changes); it [asks](#commands-that-ask).',
  'assay reference revoke':
    'Without `--taint` the taints of these nodes wait for a person. [What a revocation reaches](references.md#what-a-revocation-reaches).',
  'assay reference restore': '[Take a revocation back](references.md#take-a-revocation-back).',
  'assay reference import':
    '[From systemd-pcrlock and Keylime](references.md#from-systemd-pcrlock-and-keylime).',
  'assay reference compute':
    '[A reference for a new kernel, before any machine runs it](references.md#compute).',
  'assay reference runtime': '[Files that nodes may run](references.md#files-that-nodes-may-run).',
  'assay policy history': '[The policies that were in force](policy.md#what-was-in-force).',
  'assay policy rollback': '[Back to an earlier policy](policy.md#back-to-an-earlier-policy).',
  'assay policy allow':
    '[A policy that would make many nodes untrusted](policy.md#a-policy-that-would-make-many-nodes-untrusted).',
  'assay policy check': '[The latch](kubernetes-safety.md#trust-for-good-the-latch).',
  'assay policy simulate':
    'In a cluster it also shows which marks would change, and what the breaker would hold. [Before a policy is in force](policy.md#before-it-is-in-force).',
  'assay policy suggest': '[Before a policy is in force](policy.md#before-it-is-in-force).',
  'assay enrol approve':
    'For an enrolled node, it accepts its TPM again after a clone, a rollback or another firmware was found.',
  'assay enrol revoke':
    '[The board was exchanged](first-node.md#the-board-was-exchanged); [all that is kept of a node](sizing.md#what-one-node-holds).',
  'assay ek roots': '[Where they come from](../attest-server/roots/SOURCES.md).',
  'assay audit verify':
    'Exit code 10 comes with the first entry that is wrong or missing. [The audit log](backup.md#the-audit-log).',
  'assay audit resolve':
    '[When the database is older than what was signed](backup.md#when-the-database-is-older-than-what-was-signed).',
  'assay audit rotate-key': '[If the key is lost](backup.md#when-the-audit-key-is-lost).',
  'assay backup': '[Backup and restore](backup.md).',
  'assay authority rotate': '[Another authority](connections.md#another-authority), in three steps.',
  'assay pause': '[Stop it](kubernetes-safety.md).',
  'assay breaker list':
    '[What the breaker holds](kubernetes-safety.md#what-the-breaker-holds), and why [what we changed](marks.md#what-we-changed) waits, too.',
  'assay exempt': '[Exempt a node](kubernetes-safety.md#exempt-a-node).',
  'assay trust enable': '[Trust for good: the latch](kubernetes-safety.md#trust-for-good-the-latch).',
  'assay unmark': '[Uninstall](kubernetes-safety.md#uninstall).',
  'assay completion': '[For which shell, and where to put it](#completion).',
  'assay-server': '[Settings](reference-configuration.md#server); [its life](#assay-server-and-its-signals).',
  'assay-server check':
    '[Check a configuration before use](kubernetes.md#checking-a-configuration-before-use).',
  'assay-server audit-key': '[When the audit key is lost](backup.md#when-the-audit-key-is-lost).',
  'assay-agent run':
    '[Settings](reference-configuration.md#agent); [what it needs](#assay-agent-and-its-signals).',
  'assay-agent tpm-broker': '[The TPM broker](privileges.md#the-tpm-broker).',
  'assay-agent inspect': 'The aspect `disk` needs it. [Inspect](privileges.md#inspect).',
  'assay-agent netfilter': 'The aspect `firewall` needs it. [Netfilter](privileges.md#netfilter).',
  'assay-agent gate': 'Only where you enable it. [A gate before kubelet](gate.md).',
};
