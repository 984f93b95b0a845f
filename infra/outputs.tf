# The first three are what `host`, `trainer` and `edge-agent` read, variable by variable.

output "host_environment" {
  description = "Variables of hosts."
  value       = tomap(local.host_environment)
}

output "trainer_environment" {
  description = "Variables of the trainer, for people who log in with `az login`."
  value       = tomap(merge(local.trainer_environment, local.people_environment))
}

output "edge_agent_environment" {
  description = "Variables of edge agents. The file of the uplink's connection string is theirs alone."
  value       = tomap(local.edge_agent_environment)
}

output "eventhub_send_connection_string" {
  description = "May send events, and nothing else; null where there are no keys."
  value       = lookup(module.ingest.send_connection_strings, "events", null)
  sensitive   = true
}

output "eventhub_name" {
  description = "The hub of events; null where there are no keys."
  value       = var.send_keys ? "events" : null
  sensitive   = true
}

output "storage_account_name" {
  description = "The account of modules; null where there are no keys."
  value       = var.send_keys ? module.storage.account_names["registry"] : null
  sensitive   = true
}

output "storage_container_name" {
  description = "The container of modules; null where there are no keys."
  value       = var.send_keys ? "registry" : null
  sensitive   = true
}

output "edge_uplink_connection_string" {
  description = "May send verdicts of devices, and nothing else: what goes into the file of the uplink; null where there are no keys."
  value       = lookup(module.ingest.send_connection_strings, "verdicts", null)
  sensitive   = true
}

output "resource_group" {
  description = "The resource group."
  value       = azurerm_resource_group.this.name
}

output "image_server" {
  description = "What images' names begin with."
  value       = module.registry.server
}

output "vault_name" {
  description = "The vault."
  value       = module.secrets.name
}

output "site_account_name" {
  description = "The account of the page's files; null where there is no page."
  value       = one(module.site[*].account_name)
}

output "site_url" {
  description = "Address of the page; null where there is no page."
  value       = one(module.site[*].url)
}

output "rights_url" {
  description = "Where devices ask for rights; null where they do not."
  value       = one(module.edge[*].rights_url)
}

output "iot_hub_name" {
  description = "IoT Hub; null where there is none."
  value       = one(module.edge[*].iot_hub_name)
}

output "pipeline_client_ids" {
  description = "AZURE_CLIENT_ID of the repository's environments; none where no workflow has rights."
  value       = module.identity.pipeline_client_ids
}

output "network_id" {
  description = "The network, to be peered with others; null where there is none."
  value       = one(module.network[*].network_id)
}

output "dns_zones" {
  description = "Zones to be linked with networks that are peered; none where there is no network."
  value       = local.is_private ? setunion(module.endpoints[0].zone_names, module.compute.zone_names) : []
}

output "logs_workspace_id" {
  description = "The workspace of logs and metrics."
  value       = module.observe.workspace_id
}

output "alerts" {
  description = "Names of the alerts."
  value       = module.observe.alerts
}
