/**
 * From one concatenation of the values of one bank to one value a PCR, hex.
 * @param mask bit i is set where PCR i is in it
 * @param size of one value, in bytes
 */
export function valuesByPcr(values: Buffer, mask: number, size: number): Record<string, string> {
  const digits = values.toString('hex');
  const each: Record<string, string> = {};
  let at = 0;
  for (let pcr = 0; pcr < 24; pcr += 1) {
    if ((mask & (1 << pcr)) === 0) continue;
    each[pcr] = digits.slice(at, at + 2 * size);
    at += 2 * size;
  }
  return each;
}
