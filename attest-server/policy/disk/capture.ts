import type { Reference } from '../../formats/reference.ts';
import type { Proven } from '../../verify/proven.ts';
import { parseDiskPart } from '../../wire/disk.ts';
import type { CaptureLabel } from '../aspect.ts';
import { CaptureError } from '../capture-error.ts';
import { capturedReference } from '../captured-reference.ts';
import { isNullCipher } from './crypt-target.ts';
import { bare } from './layers.ts';
import { luksVolume } from './luks-metadata.ts';
import { volumeDevices } from './volume-devices.ts';

/**
 * A reference of the LUKS headers that a node shows: for itself alone, as no other node may have one of them.
 * @throws CaptureError if it shows none, or one that is no model
 */
export function captureDisk({ parts }: Proven, about: CaptureLabel): Reference {
  const { node } = about;
  const bytes = parts.disk?.bytes ?? null;
  if (bytes === null) throw new CaptureError(`${node} sent nothing about its disks`);
  const part = parseDiskPart(bytes);
  const { inspected } = part;
  if ('cause' in inspected)
    throw new CaptureError(`${node} does not show its LUKS headers: ${inspected.cause}`);
  const ofPods = volumeDevices(part);
  const devices = part.devices.filter(({ device }) => !ofPods.has(device));
  // Devices that no path stands on are not the node's to be enrolled.
  const open = devices.flatMap(({ mapping }) =>
    mapping === null ? [] : (/^CRYPT-LUKS[12]-([0-9a-f]{32})-/i.exec(mapping.uuid)?.[1]?.toLowerCase() ?? []),
  );
  if (open.length === 0) throw new CaptureError(`${node} has no LUKS volume below the protected paths`);
  const volumes = [...new Set(open)].map((opened) => {
    const header = inspected.headers.find((one) => bare(one.uuid) === opened);
    if (header === undefined)
      throw new CaptureError(`${node} does not show the LUKS header ${opened}, by which a volume was opened`);
    const volume = luksVolume(header);
    const of = `the LUKS header of ${header.device} of ${node}`;
    if ('fault' in volume) throw new CaptureError(`${of} cannot be read: ${volume.fault}`);
    if (volume.reencryption !== null)
      throw new CaptureError(`${of} is no model: it is being reencrypted (${volume.reencryption})`);
    if (volume.ciphers.some(isNullCipher)) throw new CaptureError(`${of} is no model: it encrypts nothing`);
    const { version, uuid, keyslots, tokens, segments, digests } = volume;
    return { version, uuid, keyslots, tokens, segments, digests };
  });
  return capturedReference({ kind: 'disk', disk: { volumes } }, about);
}
