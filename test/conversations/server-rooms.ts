import { Attestation } from '../../attest-server/attest/attestation.ts';
import type { AskedAgain } from '../../attest-server/channel/ports.ts';
import type { Action, Session, ShownTokens } from '../../attest-server/channel/session.ts';
import { Candidates } from '../../attest-server/enrolment/candidates.ts';
import { createIdentify, type Peer } from '../../attest-server/enrolment/identify.ts';
import type { EnrolledNode } from '../../attest-server/enrolment/ports.ts';
import { createRegistry } from '../../attest-server/enrolment/registry.ts';
import { keptContext } from '../../attest-server/evidence/pack.ts';
import type { AuditAction, AuditEvent } from '../../attest-server/formats/audit.ts';
import { reference } from '../../attest-server/formats/reference.ts';
import { InForce } from '../../attest-server/in-force/in-force.ts';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import { enrolments, groupOf } from '../../attest-server/policy/policy.ts';
import { trustRoots } from '../../attest-server/verify/endorsement-chain.ts';
import { EndorsementPaths } from '../../attest-server/verify/endorsement-paths.ts';
import { parseCertificate } from '../../attest-server/verify/x509/certificate.ts';
import type { Hello } from '../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../attest-server/wire/reasons.ts';
import type { NodeState } from '../../attest-server/wire/verdict.ts';
import { madePorts } from '../attest-server/attest/made-machine.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import type { Release, Step } from './recording.ts';

/** The rooms behind the channel, as the server puts them together, on a clock that the recording sets. */
export interface ServerRooms extends AsyncDisposable {
  /** Milliseconds since the epoch. */
  now: number;
  /** What the recorded operator did. */
  operate(deed: Exclude<Step, { from: string }>, node: string): Promise<void>;
  /** @throws Rejection */
  identify(hello: Hello, tokens: ShownTokens): Promise<{ peer: Peer; isEnrolled: boolean }>;
  /** @throws Rejection */
  enrol(peer: Peer): Promise<Peer>;
  /** @throws Rejection */
  judge(
    peer: Peer,
    session: Session,
    answer: Extract<Action, { do: 'judge' }>,
  ): Promise<{ state: NodeState; codes: readonly ReasonCode[] } | AskedAgain>;
  /** Digests of files that the node's next challenge is to ask for. */
  filesOf(peer: Peer, session: Session): readonly string[];
  record(node: string): Promise<EnrolledNode | null>;
}

/** Everything that the replay calls beyond the channel's state machine is called here. */
export async function openRooms(release: Release): Promise<ServerRooms> {
  const store = await openMadeStore(':memory:');
  const policy = parsePolicy(release.policy, 'policy.yaml', enrolments);
  const now = () => rooms.now;
  let inForce = new InForce(policy, [], keptContext);
  const attestation = await Attestation.open(
    madePorts(store, { now: () => rooms.now, inForce: () => inForce }),
    null,
  );
  const roots = release.installation.endorsementRoots.map((pem) =>
    parseCertificate(Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64'), 'root'),
  );
  const registry = createRegistry({
    checkPins: async () => {},
    store: store.enrolment,
    mayEnrol: (node, by) => groupOf(policy, node, {}).enrolment.some((method) => method === by),
    authority: { digest: release.installation.authorityDigest },
    alert() {},
    firstUsePerSource: 256,
    trial: false,
    clusterPorts: null,
  });
  const identify = createIdentify({
    store: store.enrolment,
    lastSeen: () => null,
    registry,
    cluster: null,
    candidates: await Candidates.open(store.enrolment),
    withoutTpm: { note: () => false },
    paths: new EndorsementPaths(() => {}),
    trust: () => trustRoots(roots, []),
    now,
  });
  const audit = (action: AuditAction, subject: string): AuditEvent => ({
    at: now(),
    actor: 'token:admin',
    action,
    subject,
    code: null,
    detail: {},
  });
  const rooms: ServerRooms = {
    now: 0,
    async operate(deed, node) {
      if (deed.kind === 'pin') await registry.importPins([{ node, ekDigest: deed.ek }], 'token:admin', now());
      else if (deed.kind === 'join token') {
        const { id, secretHash, expiresAt } = deed;
        const token = { id, secretHash, node, expiresAt, usedAt: null, by: null };
        await store.enrolment.addJoinToken(token, audit('join-token.create', node));
      } else if (deed.kind === 'reference') {
        const captured = reference.parse(deed.reference);
        await store.references.add(captured, audit('reference.capture', captured.name));
        inForce = new InForce(policy, await store.references.list(), keptContext);
      }
    },
    async identify(hello, tokens) {
      const { node, activation } = await identify(hello, tokens, '127.0.0.1');
      return { peer: node, isEnrolled: activation === null };
    },
    async enrol(peer) {
      let { record } = peer;
      const { enrolling } = peer;
      if (enrolling === null) return peer;
      await attestation.lives.release(record.name, async () => {
        record = await registry.enrol(peer.record, enrolling.joinTokenId, enrolling.vouched());
      });
      return { ...peer, record, enrolling: null };
    },
    judge: ({ record, ak, endorsementPath }, { channel, helloDigest }, answer) =>
      attestation.judge(
        { ...record, ak, endorsementPath },
        {
          by: 'agent',
          evidence: answer.evidence,
          nonce: answer.nonce,
          channel,
          helloDigest,
          selection: answer.challenge.selection,
          challengedAt: answer.challengedAt,
          parts: answer.parts,
          supplements: answer.supplements,
        },
      ),
    filesOf: ({ record }, { channel }) =>
      attestation.supplements.ask(record.name, channel).loaderFiles?.of ?? [],
    record: (node) => store.enrolment.node(node),
    async [Symbol.asyncDispose]() {
      await attestation.idle();
      await store[Symbol.asyncDispose]();
    },
  };
  return rooms;
}
