output "namespace_id" {
  description = "The namespace."
  value       = azurerm_eventhub_namespace.this.id
}

output "namespace_name" {
  description = "Name of the namespace."
  value       = azurerm_eventhub_namespace.this.name
}

output "namespace_host" {
  description = "Host name of the namespace, as programs want it."
  value       = "${azurerm_eventhub_namespace.this.name}.servicebus.windows.net"
}

output "hub_ids" {
  description = "The hubs by their names, as scopes of roles."
  value       = local.hub_ids

  depends_on = [azurerm_eventhub.all, azurerm_resource_group_template_deployment.captured]
}

output "host_group" {
  description = "The consumer group of hosts."
  value       = azurerm_eventhub_consumer_group.all["host"].name
}

output "send_connection_strings" {
  description = "Connection strings that may send, by hub; none where keys are off."
  value       = { for hub, rule in azurerm_eventhub_authorization_rule.send : hub => rule.primary_connection_string }
  sensitive   = true
}
