/** Words for an audit entry, which is bounded; the answer has all of them. */
export function brief(words: string): string {
  return words.length <= 1000 ? words : `${words.slice(0, 999)}…`;
}
