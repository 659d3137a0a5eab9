import { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { areaOfTemplate, checkEndorsementTemplate } from '../../attest-server/verify/endorsement-template.ts';
import { CloudFault } from './lookup.ts';

/** Of an endorsement key that a cloud gives as a public key in PEM; the area is that of the TCG's template. @throws CloudFault */
export function digestOfPem(of: string, pem: string): string {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: pem, format: 'pem' });
  } catch (cause) {
    throw new CloudFault(`${of} gave an endorsement key that is no public key in PEM`, { cause });
  }
  const area = areaOfTemplate(key);
  if (area === null)
    throw new CloudFault(`${of} gave an endorsement key that is neither RSA with 2048 bits nor of P-256`);
  return hash('sha256', area, 'hex');
}

/** Of a TPMT_PUBLIC, or of a TPM2B_PUBLIC that holds one. @throws CloudFault */
export function digestOfArea(of: string, bytes: Buffer): string {
  const hasSize = bytes.length > 2 && bytes.readUInt16BE(0) === bytes.length - 2;
  const area = hasSize ? bytes.subarray(2) : bytes;
  try {
    checkEndorsementTemplate({ bytes: area });
  } catch (cause) {
    throw new CloudFault(`${of} gave an endorsement key that is not made from a template of the TCG`, {
      cause,
    });
  }
  return hash('sha256', area, 'hex');
}
