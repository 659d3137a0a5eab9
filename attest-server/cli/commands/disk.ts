import type { z } from 'zod';
import { listOf } from '../../api/list.ts';
import { type NodeView, nodeView } from '../../api/node-api.ts';
import {
  type VolumeView,
  volumeEscrow,
  volumeMade,
  volumeName,
  volumePath,
  volumeRemoved,
  volumeView,
  wrappingView,
} from '../../api/volume-api.ts';
import { printable } from '../../wire/printable.ts';
import type { Client } from '../client.ts';
import { type Consent, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { relative, tableTime } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { shownDigits } from '../readable.ts';
import { table } from '../table.ts';
import { into, writeSecret } from '../write-file.ts';

export interface InitOptions {
  readonly volume: string;
  readonly path: string;
  readonly output: Format;
}

/** `disk init NODE --volume NAME --path PATH`. */
export async function initVolume(
  { io, server }: CliContext,
  node: string,
  { volume: name, path, output: format }: InitOptions,
): Promise<void> {
  checkOption('--volume', name, volumeName);
  checkOption('--path', path, volumePath);
  const made = await (await server()).post('/v1/volumes', { node, name, path }, volumeMade);
  await print(io, format, made, () =>
    [`volume ${made.name} of ${made.node}: LUKS UUID ${made.uuid}`, ...made.next.split('\n')]
      .map((line) => `${printable(line)}\n`)
      .join(''),
  );
}

export interface DiskListOptions {
  readonly output: Format;
  readonly utc?: boolean;
}

const columns = ['NODE', 'VOLUME', 'PATH', 'STATE', 'RELEASED', 'UNLOCKED', 'NEXT BOOT'] as const;
const wideColumns = ['REFUSED', 'UUID', 'EK', 'HEADER', 'CIPHER', 'RECOVERY', 'BY', 'AGE'] as const;

/**
 * `disk list [NODE]`. RELEASED: when a boot last got its key. UNLOCKED: when its node last said that it is open. NEXT BOOT: whether
 * that would get it.
 */
export async function listVolumes(
  { io, server }: CliContext,
  node: string | undefined,
  { output: format, utc: absolute = false }: DiskListOptions,
): Promise<void> {
  const items = await readVolumes(await server(), node);
  await print(io, format, { items, next: null }, () => {
    if (format === 'name')
      return items.map((item) => `${printable(item.node)} ${printable(item.name)}\n`).join('');
    const isWide = format === 'wide';
    const time = (moment: string | null) => tableTime(moment, io.now(), absolute);
    return table(
      isWide ? [...columns, ...wideColumns] : columns,
      items.map((item) => [
        ...[
          item.node,
          item.name,
          item.path,
          stateOf(item, time),
          time(item.releasedAt),
          time(item.unlockedAt),
        ],
        nextBootOf(item),
        ...(isWide
          ? [
              item.refused === null ? '-' : `${item.refused.code} ${time(item.refused.at)}`,
              item.uuid,
              item.ek,
              item.header?.slice(0, shownDigits) ?? '-',
              item.cipher ?? (item.header === null ? '-' : 'unknown'),
              recoveryOf(item),
              item.createdBy,
              time(item.createdAt),
            ]
          : []),
      ]),
    );
  });
}

export interface RevokeOptions extends Consent {
  readonly reason: string;
}

/** `disk revoke NODE VOLUME`, and `disk restore`. */
export async function revokeVolume(
  { io, server }: CliContext,
  action: 'revoke' | 'restore',
  node: string,
  volume: string,
  { reason, ...consent }: RevokeOptions,
): Promise<void> {
  const ask = questions(io, consent);
  const client = await server();
  const found = await findVolume(client, node, volume);
  const { textOf, verb, done } = keyChanges[action];
  const text = textOf(found, io.now());
  if (consent.dryRun === true) return io.out(text);
  io.err(text);
  await ask(`${verb} the key of ${named(found)}?`);
  await client.post(`/v1/volumes/${encodeURIComponent(found.uuid)}/${action}`, { reason }, volumeView);
  io.out(`the key of ${named(found)} is ${done}\n`);
}

export interface RotateOptions extends Consent {
  readonly cancel?: boolean;
}

/** `disk rotate NODE VOLUME`, also with `--cancel`. */
export async function rotateVolume(
  { io, server }: CliContext,
  node: string,
  volume: string,
  { cancel = false, ...consent }: RotateOptions,
): Promise<void> {
  const ask = cancel ? null : questions(io, consent);
  const client = await server();
  const found = await findVolume(client, node, volume);
  const route = `/v1/volumes/${encodeURIComponent(found.uuid)}/rotate`;
  if (ask === null) {
    if (consent.dryRun === true) return io.out(`${named(found)} would keep its key\n`);
    await client.delete(route, volumeView);
    return io.out(`${named(found)} keeps its key\n`);
  }
  const its = await client.get(`/v1/nodes/${encodeURIComponent(found.node)}`, nodeView);
  const ek = found.enrolled ? null : its.ek;
  const text = rotationText(found, ek, its, io.now());
  if (consent.dryRun === true) return io.out(text);
  io.err(text);
  await ask(`Replace the key of ${named(found)}?`);
  await client.post(route, ek === null ? {} : { ek }, volumeView);
  io.out(`the key of ${named(found)} is replaced when ${printable(found.node)} boots\n`);
}

/** `disk remove NODE VOLUME`. */
export async function removeVolume(
  { io, server }: CliContext,
  node: string,
  volume: string,
  consent: Consent,
): Promise<void> {
  const ask = questions(io, consent);
  const client = await server();
  const found = await findVolume(client, node, volume);
  const text = removalText(found, io.now());
  if (consent.dryRun === true) return io.out(text);
  io.err(text);
  await ask(`Remove ${named(found)}?`);
  const path = `/v1/volumes/${encodeURIComponent(found.uuid)}`;
  const { removed } = await client.delete(path, volumeRemoved);
  io.out(`${named(found)} removed: the server no longer has the key of ${printable(removed)}\n`);
}

/** `disk rewrap`. */
export async function rewrapVolumes(
  { io, server }: CliContext,
  { output: format, utc: absolute = false }: DiskListOptions,
): Promise<void> {
  const answer = await (await server()).post('/v1/wrapping-keys/rewrap', {}, wrappingView);
  await print(io, format, answer, () => {
    const rows = answer.keys.map(({ id, volumes, inFile, unneededSince }, index) => {
      if (volumes > 0) return [id, String(volumes), inFile ? 'yes' : 'yes, and the file lacks it'];
      if (index === 0) return [id, '0', 'yes, for the next one'];
      return [
        id,
        '0',
        unneededSince === null ? 'no' : `no, since ${tableTime(unneededSince, io.now(), absolute)}`,
      ];
    });
    const isLeft = answer.keys.slice(1).some(({ volumes, inFile }) => volumes === 0 && inFile);
    return [
      `${answer.rewrapped} volumes were wrapped anew\n`,
      table(['WRAPPING KEY', 'VOLUMES', 'NEEDED'], rows),
      ...(isLeft
        ? [
            'Remove the line of a key that is not needed from the file, and keep a copy offline: backups of the database from before still need it.\n',
          ]
        : []),
    ].join('');
  });
}

export interface EscrowOptions {
  readonly file?: string;
  readonly header?: string;
}

/** `disk escrow NODE VOLUME`: the encrypted passphrase alone on standard output, and how to open it on standard error. */
export async function writeEscrow(
  { io, server }: CliContext,
  node: string,
  volume: string,
  { file, header: headerFile }: EscrowOptions,
): Promise<void> {
  const client = await server();
  const found = await findVolume(client, node, volume);
  const query = headerFile === undefined ? '' : '?header=true';
  const path = `/v1/volumes/${encodeURIComponent(found.uuid)}/escrow${query}`;
  const { recovery, header = null } = await client.get(path, volumeEscrow);
  if (headerFile !== undefined) {
    if (header === null)
      throw new CliError(
        `the server has no header of ${named(found)}: its node has not formatted it`,
        `Leave out --header, or see when it is formatted:\n  assay disk list ${printable(found.node)}`,
      );
    into(headerFile, io, writeSecret).out(header);
  }
  into(file, io, writeSecret).out(recovery.endsWith('\n') ? recovery : `${recovery}\n`);
  io.err(
    [
      'Whoever has a recovery identity of the policy (keys.recoveryRecipients) reads the passphrase:',
      `  age --decrypt -i KEY ${file ?? 'FILE'}`,
      ...(headerFile === undefined
        ? []
        : ['and the header:', `  age --decrypt -i KEY -o header.img ${headerFile}`]),
    ]
      .map((line) => `${line}\n`)
      .join(''),
  );
}

async function readVolumes(client: Client, node?: string): Promise<readonly VolumeView[]> {
  const query = node === undefined ? '' : `?${new URLSearchParams({ node })}`;
  return (await client.get(`/v1/volumes${query}`, listOf(volumeView))).items;
}

/** @param volume its name, or its LUKS UUID @throws CliError if there is none, or several have that name */
async function findVolume(client: Client, node: string, volume: string): Promise<VolumeView> {
  const ofNode = await readVolumes(client, node);
  const [found, ...more] = ofNode.filter(({ name, uuid }) => name === volume || uuid === volume);
  if (found === undefined)
    throw new CliError(
      `not found: ${printable(node)} has no volume ${printable(volume)}`,
      `See which there are:\n  assay disk list ${printable(node)}`,
    );
  if (more.length > 0)
    throw new CliError(
      `${printable(node)} has ${more.length + 1} volumes ${printable(volume)}, of different TPMs`,
      `Name the one that is meant by its UUID:\n  assay disk list ${printable(node)} -o wide`,
    );
  return found;
}

function nextBootOf({ nextBoot, revoked }: VolumeView): string {
  if (revoked !== null) return 'NO KEY';
  if (nextBoot === null) return '-';
  return { would: 'key', would_not: 'NO KEY', unknown: 'unknown' }[nextBoot.answer];
}

/** To whom what is kept for recovery is encrypted, and how the policy differs from that. */
function recoveryOf({ recipients, header }: VolumeView): string {
  const { passphrase = null, header: ofHeader = null, policy = [] } = recipients ?? {};
  const short = (recipient: string) => recipient.slice(0, shownDigits);
  const shown = (its: readonly string[] | null) => {
    if (its === null) return 'unknown';
    const absent = policy.filter((one) => !its.includes(one));
    return [
      ...its.map((one) => (policy.includes(one) ? short(one) : `${short(one)} (not in the policy)`)),
      ...absent.map((one) => `lacks ${short(one)}`),
    ].join(', ');
  };
  const [its, ofIts] = [shown(passphrase), shown(ofHeader)];
  return header === null || its === ofIts ? its : `${its}; header: ${ofIts}`;
}

function stateOf(
  { enrolled, formattedAt, revoked, rotation, unlockedAt }: VolumeView,
  time: (moment: string) => string,
): string {
  if (revoked !== null) return 'revoked';
  if (enrolled && rotation !== null) {
    // Its unit is not enabled, or failed.
    const isMissed = Date.parse(unlockedAt ?? '') > Date.parse(rotation.since);
    const when = isMissed
      ? 'not done at its last boot'
      : `${rotation.begun ? 'goes on ' : ''}at its next boot`;
    return `rotating since ${time(rotation.since)}, ${when}`;
  }
  if (enrolled) return formattedAt === null ? 'to be formatted' : 'formatted';
  return formattedAt === null ? 'of another TPM' : 'formatted, of another TPM';
}

function revocationText(volume: VolumeView, now: number): string {
  const { node, path, unlockedAt } = volume;
  const since =
    unlockedAt === null ? 'it was never said to be open' : `it was last opened ${relative(unlockedAt, now)}`;
  return [
    `from its next boot on ${printable(node)} gets no key for ${named(volume)} (${printable(path)}): its console asks for the recovery passphrase, and its runtime does not start without it`,
    `what is open stays open until that boot (${since}), and whoever is root there may have the key of its data`,
  ]
    .map((line) => `${line}\n`)
    .join('');
}

const keyChanges = {
  revoke: { textOf: revocationText, verb: 'Revoke', done: 'revoked' },
  restore: { textOf: restorationText, verb: 'Restore', done: 'given to its node again' },
} as const;

/** @param ek of the TPM that the volume is bound to from now on; null: it is bound to that of its node. @param its its node */
function rotationText(volume: VolumeView, ek: string | null, its: NodeView, now: number): string {
  const node = printable(volume.node);
  const { connectedAt, verifiedAt } = its;
  const last =
    verifiedAt === null ? 'and was never verified' : `and was last verified ${relative(verifiedAt, now)}`;
  return [
    `${named(volume)} gets a new key at the next boot of ${node}. Until then nothing changes`,
    ...(connectedAt === null
      ? [
          `${node} is not connected, ${last}: the new key waits for it, and \`assay disk rotate ${node} ${printable(volume.name)} --cancel\` calls it off`,
        ]
      : []),
    'its recovery passphrase stays. So does the key by which the data are encrypted: who was root while the volume was open may have that',
    ...(ek === null
      ? []
      : [
          `it is bound to the TPM ${printable(volume.ek)}, and from now on to the one that ${node} has: ${printable(ek)}. The earlier TPM gets no key of it any more`,
        ]),
  ]
    .map((line) => `${line}\n`)
    .join('');
}

function restorationText(volume: VolumeView, now: number): string {
  const { revoked } = volume;
  if (revoked === null) return `the key of ${named(volume)} is not revoked\n`;
  const { at, by, because } = revoked;
  return `the key of ${named(volume)} was revoked ${relative(at, now)} by ${printable(by)}: ${printable(because)}\n`;
}

function removalText(volume: VolumeView, now: number): string {
  const { node, name, path, uuid, formattedAt } = volume;
  const what = `${named(volume)} (${printable(path)}, LUKS UUID ${printable(uuid)})`;
  if (formattedAt === null)
    return `${what} is not formatted yet: its node can no longer format it once it is removed\n`;
  const [of, file] = [`${node} ${name}`, `${node}-${name}`].map(printable);
  return [
    `${what} was formatted ${relative(formattedAt, now)}`,
    'once it is removed, its node gets no key, and the escrow of this server is gone: from then on only the recovery passphrase opens the disk. Keep that first:',
    `  assay disk escrow ${of} -f ${file}.age --header ${file}-header.age`,
    'Backups of the database that were made before still have the key, wrapped by the wrapping key.',
    'Its node goes on being compared with the header. If the disk is out of use, end that, too:',
    `  assay reference retire disk-${printable(uuid)} --reason "out of use"`,
  ]
    .map((line) => `${line}\n`)
    .join('');
}

function named({ node, name }: VolumeView): string {
  return `volume ${printable(name)} of ${printable(node)}`;
}

/** @throws CliError (usage) */
function checkOption(option: string, given: string, schema: z.ZodType): void {
  const issue = schema.safeParse(given).error?.issues[0];
  if (issue !== undefined) throw new CliError(`${option} ${given}: ${issue.message}`, null, exit.usage);
}
