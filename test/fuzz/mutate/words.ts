/** Words of a parser's texts, from its recordings and the list of its own. */
export type Words = readonly string[];

const mostWords = 4096;

export function wordsIn(inputs: readonly Buffer[], more: readonly string[]): Words {
  const words = new Set(more);
  for (const input of inputs) {
    for (const [word] of input.toString('latin1').matchAll(/[\w.:/@-]{2,40}/g)) {
      if (words.size >= mostWords) return [...words];
      words.add(word);
    }
  }
  return [...words];
}
