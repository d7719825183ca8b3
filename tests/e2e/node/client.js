// MQTT.js over mutual TLS: subscribe, publish with every QoS, a retained message, a will, a persistent session.
// Arguments: port, CA, certificate, key, topic root. Prints one JSON line for each step; exit status 0 when all came.
'use strict'
const fs = require('fs')
const mqtt = require('mqtt')

const [port, ca, cert, key, root] = process.argv.slice(2)
const options = {
  host: '127.0.0.1', port: Number(port), protocol: 'mqtts', protocolVersion: 4, reconnectPeriod: 0, connectTimeout: 20000,
  ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key), rejectUnauthorized: true
}
const say = (step, more) => console.log(JSON.stringify({ step, ...more }))

async function open (clientId, more) {
  const client = mqtt.connect({ ...options, clientId, ...more })
  const got = []
  let wake = null
  client.on('message', (topic, payload, packet) => {
    got.push({ topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain })
    if (wake) wake()
  })
  const connack = await new Promise((resolve, reject) => {
    client.once('connect', resolve)
    client.once('error', reject)
    client.once('close', () => reject(new Error('closed before CONNACK')))
  })
  const messages = async (n) => {
    while (got.length < n) await new Promise(resolve => { wake = resolve })
    return got.splice(0, n)
  }
  return { client, connack, messages }
}

async function main () {
  const a = await open(root + '-js-a', { clean: false })
  await a.client.subscribeAsync(root + '/#', { qos: 2 })
  for (const qos of [0, 1, 2]) {
    for (let i = 0; i < 50; i++) await a.client.publishAsync(`${root}/${qos}`, String(i), { qos })
    const got = await a.messages(50)
    if (got.some((m, i) => m.payload !== String(i) || m.qos !== qos || m.retain)) throw new Error('wrong messages: ' + JSON.stringify(got))
    say('qos', { qos, n: got.length })
  }
  await a.client.publishAsync(root + '/kept', 'kept', { qos: 1, retain: true })
  await a.messages(1)
  const b = await open(root + '-js-b', { clean: true, will: { topic: root + '/will', payload: 'gone', qos: 1, retain: false } })
  await b.client.subscribeAsync(root + '/kept', { qos: 1 })
  say('retained', { got: await b.messages(1) })
  b.client.stream.destroy()
  say('will', { got: await a.messages(1) })
  await a.client.endAsync()

  const c = await open(root + '-js-c', { clean: true })
  await c.client.publishAsync(root + '/queued', 'while away', { qos: 2 })
  await c.client.publishAsync(root + '/kept', '', { qos: 1, retain: true })
  await c.client.endAsync()
  const again = await open(root + '-js-a', { clean: false })
  say('session', { present: again.connack.sessionPresent, got: await again.messages(2) })
  await again.client.endAsync()
}

main().then(() => process.exit(0), error => { console.error(error); process.exit(1) })
