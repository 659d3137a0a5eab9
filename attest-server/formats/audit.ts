/** The actions of the audit log, and the members of an entry of each. */
export const auditActions = {
  verdict: 'a node got another verdict than before, or its first one: state, policy, digest of the evidence',
  flaps:
    'the verdicts of a node change so often that they have a row a minute together: how many, since when, which states and codes, and its state now. Once an hour while its state is the one of the entry before',
  'verdict.repeat': 'once an hour: how many verdicts were equal to the one before, and since when',
  enrol: 'a TPM became a node, and by which method',
  'enrol.approve': 'a person let a TPM enrol, or ended what was held against it',
  'enrol.revoke': 'a node was removed; its name is free',
  'ek.import': 'a list of nodes and endorsement keys was pinned',
  'join-token.create': 'a token with which one node can enrol was made',
  'join-token.revoke': 'a join token that nobody used was taken back',
  declare: 'a signed directory came into force: its serial, the key, and how many references it changed',
  'reference.declare': 'a reference is from now on as the signed directory says: from which state to which',
  'reference.capture': 'what nodes proved became a reference: of which kind, and from which nodes',
  'reference.import': 'a reference came from a file',
  'reference.approve': 'a reference counts from now on',
  'reference.retire': 'a reference counts no longer',
  'reference.revoke': 'what a reference names is bad',
  'reference.announce':
    'a person expects nodes to boot like a staged reference: which ones, until when, and why',
  'reference.announce.end': 'a person expects that change no longer',
  'reference.delete': 'a reference that did not count was deleted; its name is free',
  'reference.restore': 'a revocation was a mistake: the reference is what it was before',
  'policy.load': 'another policy is in force',
  'policy.rollback': 'a person put an earlier policy in force: in place of which one, and why',
  'policy.allow': 'a person let one policy come into force, whatever number of nodes it makes untrusted: why',
  'reload.refuse': 'a file that was read again is faulty, and the old one stays in force',
  'token.create': 'a person or program may use the API',
  'token.revoke': 'a person or program may no longer use the API',
  refuse: 'evidence, a connection or a request was refused',
  'refuse.count': 'once an hour: how many refusals have no entry of their own, by code',
  evidence_erased:
    'evidence was erased: its digests. It was too old, its node’s share of the disk was full (`server`), or a person had it erased',
  'gate.open':
    'a gate let kubelet start: why, and for which boot. By the server’s word (`affirmed`, `observe`), or by its own (`operator`, `timeout`, `kept`), as the node says',
  'volume.add': 'a person let one node format a volume: its LUKS UUID, name and path',
  'volume.remove': 'a person removed a volume: its key is destroyed',
  'volume.revoke': 'a person had the key of a volume given to nobody any more: why',
  'volume.restore': 'a person had the key of a volume given to its node again: why',
  'volume.escrow':
    'a person read what opens a volume without the server, encrypted for those who may recover it: the passphrase, and with `header` the header',
  'volume.rotate':
    'a person had the key of a volume replaced at the next boot of its node, with `ek` for another TPM than before: which volume',
  'volume.rotate.cancel': 'a person called that off: the volume keeps its key',
  'volume.rotate.end':
    'the node has replaced the key of its volume, and the earlier one is destroyed: the digest of the new header',
  'volume.format': 'a node has formatted its volume: the digest of its header',
  'key.release':
    'the key of a volume was given to a boot that had proven itself: the lease, which delivery of it this is, the evidence, and the address; `newAddress` if no key of this TPM went there before',
  'key.refuse':
    'a boot that asked for the key of a volume got none: why, and the evidence. Once while nothing changes',
  'key.unlock':
    'a node says that a volume is open and its boot is capped: nothing more is given to this boot',
  'key.rewrap': 'keys of volumes were wrapped by a new wrapping key: how many',
  backup: 'a copy of the database was made',
  'store.unreadable': 'a row of the database cannot be read, and was left out',
  'server.fault':
    'the server could store no verdict for a time: why, since when (`since`), how many answers came to nothing, how many audit entries follow late, and how many are lost',
  'authority.rotate': 'another authority of the server was announced',
  'authority.finish': 'the announced authority signs from now on',
  'authority.retire': 'the earlier authority is no longer announced',
  'certificate.renew': 'the server’s certificate was replaced: until when the old and the new one are good',
  'audit_key.create': 'the audit log got its first key',
  'audit_key.rotate': 'the audit log got a new key, which the old one signed',
  'audit_key.start_anew': 'the audit log got a key of a new origin, since the old one is lost',
  'audit.resolve': 'a person knows why the audit log is another one: the reason, and the first proof',
  'cluster.pause': 'a person stopped the marking of nodes: why',
  'cluster.resume': 'nodes are marked again',
  'cluster.unmark': 'a person had all marks removed from the cluster: why, and from how many nodes',
  'marks.tamper': 'somebody changed marks of a Node; they are put back as the verdict says',
  'breaker.open':
    'so many nodes of a group fail the same way that their taints wait for a person: group, code, value, how many',
  'breaker.hold': 'a person said that those taints stay away',
  'breaker.release': 'a person, or a setting after its time, said that those nodes are tainted',
  'breaker.close': 'no node fails this way any longer: nothing waits',
  exempt: 'a person lets a node work although it is not trusted: why, and until when',
  'exempt.end': 'an exemption ended: by its time (`server`), or by a person',
  'trust.enable': 'trust can no longer be taken back: for which groups of the policy',
  'trust.restore': 'the latch was missing in the store or in the cluster, and was written there again',
  'node.gone':
    'a node left: the cluster has no Node of it, and its TPM is silent; since when. It is in no list, unless something is held against it',
  'node.back':
    'a node that was gone is back: its Node (`node`) or a proof of its TPM (`tpm`) came back, or the server is no longer in a cluster (`server`)',
  'node.archive': 'records of nodes that were gone for long are kept out of all lists: how many, and which',
  'webhook.drop':
    'the webhook was not told of what happened: why (`age`, `count`, `rejected`), from which entry on (`seq`), how many at first',
  audit_rollback: 'the audit log is not the one that was signed, or that an agent or the cluster saw',
} as const satisfies Readonly<Record<string, string>>;
export type AuditAction = keyof typeof auditActions;
export const auditActionNames = Object.keys(auditActions);

/** Who did what to whom: one line of the audit log. The chain's fields are added when it is written down. */
export interface AuditEvent {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** A person's or program's name: `token:admin`, `server`, `agent:node-1`. */
  readonly actor: string;
  readonly action: AuditAction;
  /** Node, reference or token that it is about. */
  readonly subject: string;
  /** Reason code or null. */
  readonly code: string | null;
  readonly detail: Readonly<Record<string, string | number | boolean | null>>;
}

/** The hash before the first entry. */
export const genesis = '0'.repeat(64);

/** An event as it is read back: an earlier or a later program may have actions of its own. */
export interface AuditContent extends Omit<AuditEvent, 'action'> {
  readonly action: string;
}

/** An event in its place in the chain. */
export interface AuditEntry extends AuditContent {
  /** Counts from 1, without gaps. */
  readonly seq: number;
  /** The hash of the entry before, 64 hex digits; zeros for the first. */
  readonly prev: string;
  readonly hash: string;
}

/** How long the audit log is, and the hash of its latest entry; 0 and `genesis` where there is none. */
export interface AuditHead {
  readonly size: number;
  readonly head: string;
}

/** Which entries are looked for; what is absent excludes none. */
export interface AuditFilter {
  /** Milliseconds since the epoch; `until` itself is not in it. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** The whole name, or what stands behind its kind: `alice` is `token:alice` and `kubernetes:alice`. */
  readonly actor?: string | undefined;
  readonly action?: readonly string[] | undefined;
  /** Named as subject, as agent, or by a word of the detail. */
  readonly node?: string | undefined;
}

export function isSelected(
  { at, actor, action, subject, detail }: AuditContent,
  { since, until, actor: wanted, action: actions, node }: AuditFilter,
): boolean {
  if ((since !== undefined && at < since) || (until !== undefined && at >= until)) return false;
  if (wanted !== undefined && actor !== wanted && nameIn(actor) !== wanted) return false;
  if (actions?.includes(action) === false) return false;
  return (
    node === undefined ||
    subject === node ||
    actor === `agent:${node}` ||
    Object.values(detail).some((text) => typeof text === 'string' && text.split(/[\s,]+/).includes(node))
  );
}

function nameIn(actor: string): string {
  return actor.slice(actor.indexOf(':') + 1);
}
