/** Names of copies of the database: `assay-TIME.db`, or `assay-INSTANCE-TIME.db` of one that a server made by itself. */
export function backupName(instance: string | null, at: number): string {
  const time = new Date(at).toISOString().replace(/[-:]/g, '');
  return `assay-${instance === null ? '' : `${instance}-`}${time}.db`;
}

const form = /^assay-(?:(.+)-)?(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{3}Z)\.db$/;

/** Who made a copy, and when: milliseconds since the epoch; null if the file has another name. */
export function parseBackupName(
  name: string,
): { readonly instance: string | null; readonly at: number } | null {
  const [, instance = null, year, month, day, hour, minute, second] = form.exec(name) ?? [];
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}`);
  return Number.isNaN(at) ? null : { instance, at };
}
