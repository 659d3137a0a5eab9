import type { ClaimView, NodeView, ReasonView } from '../api/node-api.ts';
import type { KnownClaim } from '../enrolment/claims.ts';
import { adviceOn } from '../wire/advice.ts';
import { spentAdvice, spentText } from '../wire/judging-share.ts';
import { classOf, mayWait, type ReasonCode } from '../wire/reasons.ts';
import { exemptionView, marksView } from './cluster-view.ts';
import { fromServer, pendingView } from './node-view.ts';
import type { ApiPorts, EnrolmentPorts } from './ports.ts';
import { connectionView, withSilence } from './silence.ts';
import { turnedView } from './turned-view.ts';

type KnownPorts = Pick<
  ApiPorts,
  'connected' | 'ended' | 'kubeletReady' | 'waits' | 'affirmedBy' | 'cluster' | 'turned' | 'server' | 'now'
> & {
  readonly enrolment: Pick<EnrolmentPorts, 'claims' | 'lastSeen' | 'mayEnrol'>;
};

/**
 * Adds to views of nodes in a list what the server knows besides: the connection, who answers for the references, and
 * who came under the name and was refused. What a stranger does under its name is no reason of a trusted node there.
 */
export function knownOf(ports: KnownPorts): (view: NodeView) => NodeView {
  const refused = ports.enrolment.claims();
  return (view) => {
    const shown = withConnection(view, ports);
    const its = refused.get(view.name);
    return its === undefined ? shown : withClaims(shown, its, ports.enrolment, null);
  };
}

/** The same for one node alone: of a trusted one its last reason is who else claims its name these days. */
export function knownAlone(ports: KnownPorts, view: NodeView): NodeView {
  const shown = withConnection(view, ports);
  const { reason: code } = view;
  const turn = view.ourChange === null ? null : ports.turned(view.name);
  const directory = ports.server.declared()?.directory ?? null;
  const isMarked = view.mode === 'enforce' && ports.cluster !== null;
  const known = withClaims(
    turn === null || code === null
      ? shown
      : { ...shown, turned: turnedView(turn, { code, isMarked, directory }) },
    ports.enrolment.claims().get(view.name) ?? [],
    ports.enrolment,
    ports.now() - tellsFor,
  );
  const wait = ports.waits(view.name);
  return wait === 0 ? known : { ...known, reasons: [...known.reasons, putOff(view, wait)] };
}

/** Its state goes by what it proved last, and ages. */
function putOff({ name }: NodeView, wait: number): ReasonView {
  const code = 'too_large';
  const text = `${spentText(name, wait)}.`;
  return { ...noted, code, class: classOf(code), text, next: spentAdvice(name) };
}

const tellsFor = 24 * 3600_000;

/** A name that nobody has enrolled, under which somebody came. */
export function refusedView(
  name: string,
  claims: readonly KnownClaim[],
  { mayEnrol }: Pick<EnrolmentPorts, 'mayEnrol'>,
): NodeView {
  const waiting = claims.filter(({ code }) => mayWait(code));
  const others = claims.filter(({ code }) => code !== 'enrolment_pending');
  const claimed =
    waiting.length > 0
      ? counted(
          waiting,
          'A TPM claims this name and waits for an approval',
          (count) => `${count} TPMs claim this name and wait for an approval`,
        )
      : `Every claim to this name is refused: ${occasionsOf(claims)}`;
  const told = waiting.filter(({ code, text }) => code === 'enrolment_pending' && text !== null).at(-1);
  const pending: ReasonView = {
    ...fromServer,
    code: 'enrolment_pending',
    text: `No node ${name} is enrolled. ${claimed}.${told === undefined ? '' : ` The last refusal says: ${told.text}.`}`,
    actual: keysOf(waiting),
    next: pendingNext(name, waiting, claims, mayEnrol),
  };
  const refused = eachCode(others).map(
    ([code, its]): ReasonView => ({
      ...fromServer,
      code,
      class: classOf(code),
      text: `The claim is refused: ${refusalOf(code, its)}`,
      actual: keysOf(its),
    }),
  );
  // That nobody is enrolled follows from it, where no TPM waits.
  const isWithoutTpm = waiting.length === 0 && others.some(({ code }) => code === 'unsupported_tpm');
  const reasons = isWithoutTpm
    ? refused.toSorted((a, b) => Number(b.code === 'unsupported_tpm') - Number(a.code === 'unsupported_tpm'))
    : [pending, ...refused];
  const reason = reasons[0]?.code ?? null;
  return { ...pendingView(name), reason, reasons, claims: claims.map(claimView) };
}

function withConnection(view: NodeView, ports: KnownPorts): NodeView {
  const { connected, enrolment, affirmedBy, cluster } = ports;
  const names = new Set(Object.values(view.aspects).flatMap(({ references = [] }) => references));
  const references = [...names].flatMap((name) => {
    const by = affirmedBy(name);
    return by === null ? [] : [{ name, by: by.by, since: by.at }];
  });
  const { address = null, agent = null } = connected(view.name) ?? enrolment.lastSeen(view.name) ?? {};
  const exempt = cluster?.exemption(view.name) ?? null;
  const exemption = exempt && exemptionView(exempt);
  const found = cluster?.marksOf(view.name) ?? null;
  const marks = found && marksView(found);
  const connection = connectionView(view.name, ports);
  return withSilence({ ...view, references, address, agent, ...connection, exemption, marks }, ports);
}

/** @param since milliseconds since the epoch after which a trusted node's refusals are shown; null: none are */
function withClaims(
  view: NodeView,
  claims: readonly KnownClaim[],
  { mayEnrol }: Pick<EnrolmentPorts, 'mayEnrol'>,
  since: number | null,
): NodeView {
  const shown = claims.map(claimView);
  const { ek, state } = view;
  const others = claims.filter(({ ekDigest }) => ekDigest !== ek);
  if (state === 'trusted') {
    const late = since === null ? [] : others.filter(({ lastSeen }) => lastSeen > since);
    return { ...view, claims: shown, reasons: [...view.reasons, ...byOtherTpms(view, late, mayEnrol)] };
  }
  // What came since it last proved itself may be the cause of its silence; what came earlier is not.
  const proven = view.verifiedAt === null ? 0 : Date.parse(view.verifiedAt);
  const isSilent = view.reasons.some(isSilence);
  const isLate = ({ lastSeen }: KnownClaim) => lastSeen > proven;
  const isCause = (claim: KnownClaim) => isSilent && isRivalClaim(claim, ek, proven);
  // From where the node last came first: its public keys are no secret.
  const own = claims
    .filter((claim) => claim.ekDigest === ek && isLate(claim))
    .sort((a, b) => Number(b.address === view.address) - Number(a.address === view.address));
  const ownReasons = eachCode(own).map(([code, its]) => ownRefused(view, code, its, mayEnrol));
  const reasons = [
    ...byOtherTpms(view, others.filter(isCause), mayEnrol),
    ...(isSilent ? ownReasons : []),
    ...view.reasons,
    ...(isSilent ? [] : ownReasons),
    ...byOtherTpms(
      view,
      others.filter((claim) => !isCause(claim)),
      mayEnrol,
    ),
  ];
  const claimed = state === 'unknown' && others.some(isCause);
  return { ...view, claims: shown, claimed, reasons, reason: reasons[0]?.code ?? null };
}

/**
 * Whether another TPM claims a node's name since the node last proved itself: it may be the cause of its silence.
 * @param ek of the node @param proven when it last did, in milliseconds since the epoch
 */
export function isRivalClaim(
  { ekDigest, code, lastSeen }: KnownClaim,
  ek: string | null,
  proven: number,
): boolean {
  return ekDigest !== ek && lastSeen > proven && (mayWait(code) || inItsName.has(code));
}

/** Codes by which a TPM is refused because of the name; anybody can send something else that is refused. */
const inItsName: ReadonlySet<ReasonCode> = new Set([
  'ek_already_bound',
  'identity_claim_mismatch',
  'ak_mismatch',
  'ek_cert_key_mismatch',
  'weak_key',
]);

function isSilence({ code, source }: ReasonView): boolean {
  return code === 'evidence_overdue' || (code === 'enrolment_pending' && source === 'server');
}

/** Severity info: a stranger's claims change no state. */
const noted = { ...fromServer, severity: 'info' } as const;

/** Those that may be the node's new TPM first: an exchanged board is silent under its own name. */
function byOtherTpms(
  view: NodeView,
  claims: readonly KnownClaim[],
  mayEnrol: EnrolmentPorts['mayEnrol'],
): readonly ReasonView[] {
  const waiting = claims.filter(({ code }) => mayWait(code));
  const refused = claims.filter(({ code }) => !mayWait(code));
  return [
    ...(waiting.length === 0 ? [] : [exchanged(view, waiting, mayEnrol)]),
    ...eachCode(refused).map(
      ([code, its]): ReasonView => ({
        ...noted,
        code,
        class: classOf(code),
        text: `Another machine claims the name ${view.name} and is refused: ${refusalOf(code, its)}`,
        expected: `endorsement key ${view.ek}`,
        actual: keysOf(its),
        next: strangerNext(view, code, its),
      }),
    ),
  ];
}

/** Advice on a code is about who proved something. Here nobody did: by it a stranger would have a good node revoked. */
function strangerNext({ name }: NodeView, code: ReasonCode, claims: readonly KnownClaim[]): string {
  const whose = `It proved nothing, and changes nothing of ${name}: find out what is at ${addressesOf(claims)}.`;
  return aboutNames.has(code) ? `${whose}\n${adviceOn(code)}` : whose;
}

/** Codes whose advice holds whoever sent the evidence. */
const aboutNames: ReadonlySet<ReasonCode> = new Set([
  'ek_already_bound',
  'identity_claim_mismatch',
  'ek_cert_key_mismatch',
]);

function exchanged(
  { name, ek, state, connectedAt }: NodeView,
  waiting: readonly KnownClaim[],
  mayEnrol: EnrolmentPorts['mayEnrol'],
): ReasonView {
  const code = 'ek_already_bound';
  const many = (count: number) => `${count} other TPMs claim the name ${name}`;
  const whose = `leave the enrolment as it is, and find out who is at ${addressesOf(waiting)}.`;
  return {
    ...noted,
    code,
    class: classOf(code),
    text: `${counted(waiting, `Another TPM claims the name ${name}`, many)}.`,
    expected: `endorsement key ${ek}`,
    actual: keysOf(waiting),
    next:
      state === 'trusted' && connectedAt !== null
        ? `${name} is connected, and proves itself with its own TPM: ${whose}`
        : [
            'If the board or its TPM was exchanged, compare the digest on the machine, free the name, and vouch for the new TPM.',
            '  assay enrol list',
            `  assay enrol revoke ${name} --reason 'the board was exchanged'`,
            ...vouching(name, keysIn(waiting), mayEnrol),
            `If nobody exchanged it, ${whose}`,
          ].join('\n'),
  };
}

/** Whoever shows the node's own key: it, or somebody who knows the public part. */
function ownRefused(
  { name, ek, address }: NodeView,
  code: ReasonCode,
  claims: readonly KnownClaim[],
  mayEnrol: EnrolmentPorts['mayEnrol'],
): ReasonView {
  const elsewhere =
    address === null || claims.some((claim) => claim.address === address)
      ? ''
      : ` Anybody can learn that key; ${name} itself last came from ${address}.`;
  const again = [
    'If somebody cleared its TPM on purpose, enrol the node again.',
    `  assay enrol revoke ${name} --reason 'the TPM was cleared'`,
    ...vouching(name, ek === null ? [] : [ek], mayEnrol),
    'If not, take the node out of service: another attestation key answers in its name.',
  ].join('\n');
  return {
    ...noted,
    code,
    class: classOf(code),
    text: `An agent with the endorsement key of ${name} is refused: ${refusalOf(code, claims)}${elsewhere}`,
    ...(code === 'ak_mismatch' && { next: again }),
  };
}

function pendingNext(
  name: string,
  waiting: readonly KnownClaim[],
  claims: readonly KnownClaim[],
  mayEnrol: EnrolmentPorts['mayEnrol'],
): string {
  if (waiting.length === 0)
    return `Correct the fault below on the machine at ${addressesOf(claims)}. Its agent then connects again by itself.`;
  const token = [
    'Or give its agent a new join token. That is enough if the server trusts the maker of the TPM.',
    `  assay join-token create --node ${name} --ttl 1h`,
  ];
  return [
    'Compare the digest on the machine. Only if it is the same, vouch for that TPM.',
    ...vouching(name, keysIn(waiting), mayEnrol),
    ...(mayEnrol(name, 'join-token') ? token : []),
  ].join('\n');
}

/** A command for each key: if there are several, a person chooses. */
function vouching(
  name: string,
  keys: readonly string[],
  mayEnrol: EnrolmentPorts['mayEnrol'],
): readonly string[] {
  if (mayEnrol(name, 'approval')) return keys.map((ek) => `  assay enrol approve ${name} --ek ${ek}`);
  return [
    'The policy does not allow an approval for this name. Pin the key instead, if the policy allows that: import a line with it.',
    ...keys.map((ek) => `  echo ${name},${ek} | assay ek import -`),
  ];
}

function counted(claims: readonly KnownClaim[], one: string, many: (count: number) => string): string {
  const keys = new Set(claims.map(({ ekDigest }) => ekDigest)).size;
  return `${keys === 1 ? one : many(keys)}: ${occasionsOf(claims)}`;
}

/** The server's text at the latest refusal. */
function refusalOf(code: ReasonCode, claims: readonly KnownClaim[]): string {
  const latest = claims.toSorted((a, b) => b.lastSeen - a.lastSeen)[0];
  return `${latest?.text ?? code} (${occasionsOf(claims)}).`;
}

function occasionsOf(claims: readonly KnownClaim[]): string {
  return `${timesOf(claims)}, from ${addressesOf(claims)}`;
}

/** Moments, and not how long ago they were: what is shown later stays true. */
function timesOf(claims: readonly KnownClaim[]): string {
  const attempts = claims.reduce((sum, claim) => sum + claim.attempts, 0);
  const first = new Date(Math.min(...claims.map(({ firstSeen }) => firstSeen)));
  const last = new Date(Math.max(...claims.map(({ lastSeen }) => lastSeen)));
  if (attempts === 1) return `once, at ${seconds(last)}`;
  return `${attempts} times, first at ${seconds(first)}, last at ${seconds(last)}`;
}

function seconds(moment: Date): string {
  return moment.toISOString().replace(/\.\d+Z$/, 'Z');
}

const mostAddresses = 4;

/** The latest first. */
function addressesOf(claims: readonly KnownClaim[]): string {
  const latest = claims.toSorted((a, b) => b.lastSeen - a.lastSeen);
  const all = [...new Set(latest.map(({ address }) => address))];
  const more = all.length > mostAddresses ? ` and ${all.length - mostAddresses} more` : '';
  return `${all.slice(0, mostAddresses).join(', ')}${more}`;
}

function keysIn(claims: readonly KnownClaim[]): readonly string[] {
  return [...new Set(claims.flatMap(({ ekDigest }) => ekDigest ?? []))];
}

function keysOf(claims: readonly KnownClaim[]): string | null {
  const keys = keysIn(claims);
  return keys.length === 0 ? null : `endorsement key ${keys.join(', ')}`;
}

/** No more than there are claims under a name: what is left out here may be the cause. */
function eachCode(claims: readonly KnownClaim[]): readonly (readonly [ReasonCode, readonly KnownClaim[]])[] {
  return [...Map.groupBy(claims, ({ code }) => code)];
}

function claimView({ ekDigest, code, text, attempts, firstSeen, lastSeen, address }: KnownClaim): ClaimView {
  return {
    ek: ekDigest,
    code,
    text,
    attempts,
    firstSeen: new Date(firstSeen).toISOString(),
    lastSeen: new Date(lastSeen).toISOString(),
    address,
  };
}
