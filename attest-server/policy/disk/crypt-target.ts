/** One line of a live device-mapper table (Documentation/admin-guide/device-mapper/dm-crypt.rst). */
export type CryptTarget =
  | { readonly kind: 'other'; readonly type: string }
  | {
      readonly kind: 'crypt';
      /** `aes-xts-plain64`; a specification of the kernel's crypto API is written as cryptsetup does, where it is known. */
      readonly cipher: string;
      /** The size of the key; null if the table does not say it. */
      readonly keyBits: number | null;
      readonly isNull: boolean;
    };

/** @returns null for what is no line of a table */
export function parseTarget(line: string): CryptTarget | null {
  const [start, length, type, ...args] = line.split(' ');
  if (
    !/^\d{1,20}$/.test(start ?? '') ||
    !/^\d{1,20}$/.test(length ?? '') ||
    type === undefined ||
    type === ''
  )
    return null;
  if (type !== 'crypt') return { kind: 'other', type: type.slice(0, 32) };
  const [specification, key] = args;
  if (specification === undefined || key === undefined) return null;
  return cryptTarget(specification, keyBitsOf(key));
}

/** A target as the kernel measures it: drivers/md/dm-crypt.c, STATUSTYPE_IMA. @param keySize in bytes */
export function measuredTarget(
  type: string,
  specification: string | undefined,
  keySize: string | undefined,
): CryptTarget {
  if (type !== 'crypt') return { kind: 'other', type: type.slice(0, 32) };
  const keyBits = /^\d{1,4}$/.test(keySize ?? '') ? Number(keySize) * 8 : null;
  return cryptTarget(specification ?? 'unknown', keyBits);
}

/** A cipher without a key encrypts nothing, whatever it is called. */
function cryptTarget(specification: string, keyBits: number | null): CryptTarget {
  const isNull = isNullCipher(specification) || keyBits === 0;
  return { kind: 'crypt', cipher: cipherOf(specification), keyBits, isNull };
}

/** Every line encrypts. */
export function encrypts(targets: readonly (CryptTarget | null)[]): boolean {
  return targets.length > 0 && targets.every((target) => target?.kind === 'crypt' && !target.isNull);
}

/** True for a cipher that leaves everything as it is. */
export function isNullCipher(cipher: string): boolean {
  return /(^|[^a-z])(cipher_null|null)($|[^a-z0-9])/.test(cipher.replace(/-null$/, ''));
}

/** `capi:xts(aes)-plain64` and `capi:authenc(hmac(sha256),xts(aes))-random` as `aes-xts-…`. */
function cipherOf(specification: string): string {
  const found =
    /^capi:(?:authenc\([a-z0-9()]{1,64},)?([a-z0-9]{1,32})\(([a-z0-9_]{1,32})\)\)?(-[a-z0-9:-]{1,64})?$/.exec(
      specification,
    );
  const [, mode, cipher, iv = ''] = found ?? [];
  return (found === null ? specification : `${cipher}-${mode}${iv}`).slice(0, 128);
}

/** `:64:logon:cryptsetup:…` counts bytes, else the key stands there as hex digits, all of them zero; `-`: none. */
function keyBitsOf(key: string): number | null {
  const named = /^:(\d{1,4}):/.exec(key)?.[1];
  if (named !== undefined) return Number(named) * 8;
  if (key === '-' || key === '0') return 0;
  return /^([0-9a-f]{2})+$/i.test(key) ? key.length * 4 : null;
}
