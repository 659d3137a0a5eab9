/** The longest: an object of etcd is at most 1.5 MiB, JSON makes six bytes of one in texts, and a watch tells one a line. */
const mostBytes = 16 * 1024 * 1024;

/** Lines of a stream, as they are complete. @throws Error if one is too long */
export async function* linesOf(stream: AsyncIterable<unknown>): AsyncGenerator<string> {
  const begun: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    if (!Buffer.isBuffer(chunk)) continue;
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, from)) {
      const line = Buffer.concat([...begun.splice(0), chunk.subarray(from, end)]).toString('utf8');
      length = 0;
      from = end + 1;
      if (line.trim() !== '') yield line;
    }
    if (from === chunk.length) continue;
    begun.push(chunk.subarray(from));
    length += chunk.length - from;
    if (length > mostBytes) throw new Error(`a line of more than ${mostBytes} bytes`);
  }
}
