/** SQLITE_CONSTRAINT_PRIMARYKEY and SQLITE_CONSTRAINT_UNIQUE (SQLite, "Result and Error Codes"). */
const uniqueViolations: readonly unknown[] = [1555, 2067];

/** True where SQL itself refused a second row of the same key. */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && uniqueViolations.includes(error.errcode);
}
