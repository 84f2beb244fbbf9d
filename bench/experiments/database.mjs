// A database: SQLite with its normal durability, which waits for the disk several times in each transaction.
import { SetupError } from '../../scripts/lib/steps.mjs'
import { secondsOf, TIMED } from './timing.mjs'

const TRANSACTIONS = 20
const ROWS_OF_TRANSACTION = 5
const SELECTS_AFTER_EACH = 5
const LINES_OF_TRANSACTION = 1 + SELECTS_AFTER_EACH
/** Of random bytes, as hexadecimal digits. */
const ROW_BYTES = 100
const FIRST_ROWS = 500
/** Steps from one row that is looked for to the next: prime to their number, so that they lie in many pages. */
const SELECT_STEP = 137
const RUN_TIMEOUT_MS = 120_000
const DATABASE = 'test.db'

const values = (first, count) =>
  Array.from({ length: count }, (_, i) => `(${first + i},hex(randomblob(${ROW_BYTES})))`).join(',')

/** A statement is a transaction here: where it fails, nothing of it is there. One in each line, as errors name lines. */
export function databaseScript() {
  const lines = []
  for (let i = 0; i < TRANSACTIONS; i++) {
    lines.push(
      `INSERT INTO rows(id, content) VALUES ${values(FIRST_ROWS + i * ROWS_OF_TRANSACTION, ROWS_OF_TRANSACTION)};`,
    )
    for (let j = 0; j < SELECTS_AFTER_EACH; j++) {
      const id = ((i * SELECTS_AFTER_EACH + j) * SELECT_STEP) % FIRST_ROWS
      lines.push(`SELECT length(content) FROM rows WHERE id = ${id};`)
    }
  }
  return `${lines.join('\n')}\n`
}

/**
 * @param {string} said by sqlite3 on standard error
 * @returns {{ inserts: number, selects: number, messages: string[] }} failed ones, and the different errors
 */
export function databaseErrors(said) {
  const found = { inserts: 0, selects: 0, messages: [] }
  for (const text of said.split('\n')) {
    const match = /error near line (\d+): (.*)/.exec(text)
    if (match === null) continue
    const isInsert = (Number(match[1]) - 1) % LINES_OF_TRANSACTION === 0
    found[isInsert ? 'inserts' : 'selects']++
    if (!found.messages.includes(match[2])) found.messages.push(match[2])
  }
  return found
}

/** @type {import('./applications.mjs').Application} */
export const database = {
  ...{ name: 'database', profile: 'apps', unit: 'transactions/s' },
  title: 'A database (SQLite)',
  series: ['transactions/s'],
  what: `\`sqlite3\` with \`journal_mode=DELETE\` and \`synchronous=FULL\` makes ${TRANSACTIONS} transactions, each an INSERT of ${ROWS_OF_TRANSACTION} rows followed by ${SELECTS_AFTER_EACH} SELECTs of a row by its key. Transactions that failed don't count in the rate. Afterwards, without rules, \`PRAGMA integrity_check\`, and whether every row is there that was said to be.`,

  async prepare({ guest, directory }) {
    const tables = `CREATE TABLE rows(id INTEGER PRIMARY KEY, content TEXT); INSERT INTO rows VALUES ${values(0, FIRST_ROWS)};`
    await guest.sh(
      `mkdir ${directory}; cd ${directory}; sqlite3 ${DATABASE} 'PRAGMA journal_mode=DELETE; ${tables}'
cat > /tmp/sql <<'END'\n${databaseScript()}END`,
    )
  },

  async run({ guest, directory }) {
    // An error ends no script, and its exit code says nothing more than the errors.
    const command = `sqlite3 -batch ${DATABASE} < /tmp/sql > /tmp/found 2> /tmp/errors || true`
    const output = await guest.sh(`cd ${directory}; ${TIMED(command)}; cat /tmp/errors`, RUN_TIMEOUT_MS)
    const { seconds, rest } = secondsOf(output)
    const { inserts, selects, messages } = databaseErrors(rest)
    const notAll = rest.trim() !== '' && messages.length === 0
    if (notAll) throw new SetupError(`sqlite3 did not run:\n${rest}`)
    const done = TRANSACTIONS - inserts
    return {
      ...{ rates: { 'transactions/s': done / seconds }, seconds, done, messages },
      ...{ attempted: TRANSACTIONS * LINES_OF_TRANSACTION, failed: inserts + selects },
    }
  },

  async check({ guest, directory }, { done }) {
    const output = await guest.sh(
      `cd ${directory}; sqlite3 ${DATABASE} 'PRAGMA integrity_check; SELECT count(*) FROM rows;'`,
    )
    const lines = output.trim().split('\n')
    const missing = FIRST_ROWS + done * ROWS_OF_TRANSACTION - Number(lines.at(-1))
    return {
      isSound: lines[0] === 'ok' && lines.length === 2 && missing <= 0,
      note: databaseNote(lines, missing),
    }
  },
}

function databaseNote(lines, missing) {
  const integrity = lines.slice(0, -1).join('; ')
  if (missing > 0) return `integrity_check: ${integrity}; ${missing} rows are lost`
  // A transaction may be stored and the error come after that, from removing the journal for one.
  return `integrity_check: ${integrity}${missing < 0 ? `; ${-missing} rows more than was said` : ''}`
}
