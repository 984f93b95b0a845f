# What the deployment tells, passed on. `host_environment`, `trainer_environment` and `edge_agent_environment`
# are what the programs read.

output "host_environment" {
  description = "Variables of hosts."
  value       = module.twinge.host_environment
}

output "trainer_environment" {
  description = "Variables of the trainer, for people who log in with `az login`."
  value       = module.twinge.trainer_environment
}

output "edge_agent_environment" {
  description = "Variables of edge agents. The file of the uplink's connection string is theirs alone."
  value       = module.twinge.edge_agent_environment
}

output "eventhub_send_connection_string" {
  description = "May send events, and nothing else; null where there are no keys."
  value       = module.twinge.eventhub_send_connection_string
  sensitive   = true
}

output "eventhub_name" {
  description = "The hub of events; null where there are no keys."
  value       = module.twinge.eventhub_name
  sensitive   = true
}

output "storage_account_name" {
  description = "The account of modules; null where there are no keys."
  value       = module.twinge.storage_account_name
  sensitive   = true
}

output "storage_container_name" {
  description = "The container of modules; null where there are no keys."
  value       = module.twinge.storage_container_name
  sensitive   = true
}

output "edge_uplink_connection_string" {
  description = "May send verdicts of devices, and nothing else: what goes into the file of the uplink; null where there are no keys."
  value       = module.twinge.edge_uplink_connection_string
  sensitive   = true
}

output "resource_group" {
  description = "The resource group."
  value       = module.twinge.resource_group
}

output "image_server" {
  description = "What images' names begin with."
  value       = module.twinge.image_server
}

output "vault_name" {
  description = "The vault."
  value       = module.twinge.vault_name
}

output "site_account_name" {
  description = "The account of the page's files; null where there is no page."
  value       = module.twinge.site_account_name
}

output "site_url" {
  description = "Address of the page; null where there is no page."
  value       = module.twinge.site_url
}

output "rights_url" {
  description = "Where devices ask for rights; null where they do not."
  value       = module.twinge.rights_url
}

output "iot_hub_name" {
  description = "IoT Hub; null where there is none."
  value       = module.twinge.iot_hub_name
}

output "pipeline_client_ids" {
  description = "AZURE_CLIENT_ID of the repository's environments; none where no workflow has rights."
  value       = module.twinge.pipeline_client_ids
}

output "network_id" {
  description = "The network, to be peered with others; null where there is none."
  value       = module.twinge.network_id
}

output "dns_zones" {
  description = "Zones to be linked with networks that are peered; none where there is no network."
  value       = module.twinge.dns_zones
}

output "logs_workspace_id" {
  description = "The workspace of logs and metrics."
  value       = module.twinge.logs_workspace_id
}

output "alerts" {
  description = "Names of the alerts."
  value       = module.twinge.alerts
}
